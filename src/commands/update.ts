import { realpathSync } from "node:fs";
import { isCompiled, platform, version as current } from "../base/build-info.ts";
import { systemClock } from "../base/clock.ts";
import { Problem, UsageError } from "../base/errors.ts";
import type { ProgressParts } from "../base/progress.ts";
import { releaseAddress } from "../base/release-address.ts";
import { findInstallation, type Installation } from "../update/installation.ts";
import { Releases } from "../update/releases.ts";
import { processesOf, type Running } from "../update/running.ts";
import { chooseVersion, installVersion, rollBack, type Updated } from "../update/update.ts";
import { compareVersions, parseVersion } from "../update/version.ts";
import { commandNode, type Command, type Terminal } from "./command.ts";
import { EXIT, reportFailure } from "./failure.ts";
import { interruptible } from "./interruptible.ts";
import { defineOptions, type Config } from "./options.ts";
import { startProgress } from "./progress.ts";
import type { Reading } from "./read-config.ts";
import { jsonOption } from "./shared-options.ts";
import { httpAddress, leadsHere, onOff, textKind } from "./value-kinds.ts";

const updateOptions = defineOptions({
  check: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Only say whether there is a newer version: exit code 1 if so, 0 if not, 69 if nobody can say",
    schema: onOff,
  },
  version: {
    inFile: false,
    hint: "VERSION",
    help: "Install this version instead of the newest, an older one as well",
    schema: textKind("a version such as 1.2.3", parseVersion),
  },
  rollback: {
    kind: "switch",
    default: "false",
    inFile: false,
    help: "Bring back the version before this one, which is kept beside it",
    schema: onOff,
  },
  baseUrl: {
    env: "MODELRELAY_BASE_URL",
    inFile: false,
    hint: "URL",
    help: "Release address to download from",
    defaultText: releaseAddress ?? "the one that the release was made for",
    schema: httpAddress,
  },
  json: { ...jsonOption, help: "Print what was found or done as JSON" },
});

type UpdateConfig = Config<typeof updateOptions>;

function checkTogether({ config: { check, version, rollback } }: Reading<typeof updateOptions>): void {
  const given = [
    ...(check ? ["--check"] : []),
    ...(rollback ? ["--rollback"] : []),
    ...(version === undefined ? [] : ["--version"]),
  ];
  if (given[1] === undefined) return;
  throw new UsageError(`Cannot use ${given[0]} and ${given[1]} together`, { action: "Keep one of them" });
}

function addressOf({ baseUrl = releaseAddress }: UpdateConfig): string {
  if (baseUrl !== undefined) return baseUrl;
  throw new UsageError("Cannot tell where releases are: this executable was made for no release address", {
    action: "Give one with --base-url URL, or MODELRELAY_BASE_URL",
  });
}

/** The executable that runs; links may lead to it. */
function ownPath(): string {
  if (!isCompiled) {
    throw new Problem("Cannot update what runs from its sources: there is no executable to replace", {
      action: "Take newer sources with git pull; bun run build makes an executable of them",
    });
  }
  try {
    return realpathSync(process.execPath);
  } catch (cause) {
    throw new Problem(`Cannot find the executable that runs, "${process.execPath}"`, {
      action: "Something has replaced it since it was started: see what is there now, and try again",
      cause,
    });
  }
}

async function runCheck(config: UpdateConfig, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const releases = new Releases(addressOf(config), { clock: systemClock, signal });
  let newest: string;
  try {
    newest = await releases.newest();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    reportFailure(error, terminal.err, false);
    return EXIT.unavailable;
  }
  const order = compareVersions(newest, current);
  if (config.json) {
    const found = { current, newest, update_available: order > 0, base_url: releases.base };
    await terminal.out(`${JSON.stringify(found)}\n`);
  } else if (order > 0) {
    await terminal.out(
      `modelrelay ${newest} is there; this is ${current}. Install it with: modelrelay update\n`,
    );
  } else {
    const more = order < 0 ? `, newer than the newest release, ${newest}` : ", the newest version";
    await terminal.out(`This is modelrelay ${current}${more}\n`);
  }
  return order > 0 ? 1 : 0;
}

/** What goes on with the version before, and how to change that. */
function restartText(running: readonly Running[] | undefined): string[] {
  if (running === undefined)
    return [
      "What runs goes on with the version before until it is restarted; services: modelrelay service restart",
    ];
  const services = new Set(running.map(({ service }) => service).filter((name) => name !== undefined));
  const alone = running.filter(({ service }) => service === undefined).map(({ pid }) => pid);
  const isOne = alone.length === 1;
  return [
    ...[...services].map(
      (name) => `A service still runs the version before; to change that: modelrelay service restart ${name}`,
    ),
    ...(isOne ? [`Process ${alone[0]} still runs the version before: stop it and start it again`] : []),
    ...(alone.length > 1
      ? [`Processes ${alone.join(", ")} still run the version before: stop and start them again`]
      : []),
  ];
}

/** @param from the version that was replaced, as far as it is known */
async function tellDone(
  { version, notes }: Updated,
  { path, previous, found }: Installation,
  from: string | undefined,
  { json }: UpdateConfig,
  terminal: Terminal,
): Promise<void> {
  const running = processesOf(found);
  if (json) {
    const done = { from: from ?? null, to: version, path, previous, running: running ?? null, notes };
    await terminal.out(`${JSON.stringify(done)}\n`);
    return;
  }
  const lines = [
    `${path} is now modelrelay ${version}; ${from ?? "the other"} is kept, and modelrelay update --rollback brings it back`,
    ...notes,
    ...restartText(running),
  ];
  await terminal.out(`${lines.join("\n")}\n`);
}

async function runUpdate(config: UpdateConfig, terminal: Terminal, signal: AbortSignal): Promise<void> {
  const own = ownPath();
  const installation = findInstallation(own, config.rollback ? "rollback" : "update");
  const parts = { clock: systemClock, env: { ...terminal.env }, platform, signal };
  if (config.rollback) {
    // The one that is kept can be asked to come back; what it replaces then may not even run.
    const from = installation.path === own ? current : undefined;
    return tellDone(await rollBack(installation, parts), installation, from, config, terminal);
  }
  const releases = new Releases(addressOf(config), { clock: systemClock, signal });
  if (releases.base.startsWith("http:") && !leadsHere(releases.base))
    terminal.err(
      `${releases.base} is not encrypted: who stands on the way there can change archive and sums alike\n`,
    );
  const version = await chooseVersion(releases, current, config.version);
  if (version === undefined) {
    const same = { from: current, to: current, path: installation.path };
    const text = `${installation.path} is modelrelay ${current} already`;
    return terminal.out(config.json ? `${JSON.stringify(same)}\n` : `${text}\n`);
  }
  const install = async (): Promise<Updated> => {
    using progress = startProgress(systemClock, terminal, (text) => terminal.err(`${text}\n`));
    const told = (shown: ProgressParts): void => progress.show(shown);
    return await installVersion(releases, version, installation, { ...parts, told });
  };
  // What is shown while it is installed is gone before the rest is told.
  await tellDone(await install(), installation, current, config, terminal);
}

export const updateCommand: Command<typeof updateOptions> = {
  name: "update",
  summary: "Replaces this executable with the newest version, once it is verified",
  examples: [
    { line: "modelrelay update --check", does: "Say whether there is a newer version; nothing changes" },
    { line: "sudo modelrelay update", does: "Install it, where modelrelay belongs to root" },
    { line: "sudo modelrelay update --rollback", does: "Go back to the version before" },
  ],
  options: updateOptions,
  check: checkTogether,
  run: (config, { terminal }) =>
    interruptible(
      async (signal) => {
        if (config.check) return runCheck(config, terminal, signal);
        await runUpdate(config, terminal, signal);
        return 0;
      },
      () => terminal.err("Interrupted; nothing was changed\n"),
    ),
};

export default commandNode(updateCommand);
