import { lookup } from "node:dns/promises";
import { connect as connectTcp } from "node:net";
import { NOT_TRIED, type CheckResult as Result, type Outcome } from "../base/check-result.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { CLOSE } from "../protocol/limits.ts";
import { V1_VERSION } from "../protocol/v1.ts";
import { listModels } from "./backend-models.ts";
import { createBackend, normalizeBackendUrl, type Backend, shownUrl } from "./backend.ts";
import { collectAnswer } from "./collect-answer.ts";
import { connectUrl, type WorkerConfig } from "./config.ts";
import { describeFailure, type DialFailure } from "./connection.ts";
import { describeBackend, findBackend, type FoundBackend } from "./discover.ts";
import { probeLink } from "./link-probe.ts";
import { offeredModels } from "./models.ts";
import { describeNetworkError } from "../base/network-error.ts";
import { tryTrust } from "./relay-trust.ts";
import { openSession } from "./session.ts";

/** The steps in their order; a result carries one of these names. */
export const CHECK_STEPS = [
  "name resolves",
  "relay reachable",
  "certificate trusted",
  "secret accepted",
  "backend up",
  "models found",
  "one token generated",
] as const;
export type CheckStep = (typeof CHECK_STEPS)[number];

export type CheckResult = Result<CheckStep>;

export interface CheckParts {
  clock: Clock;
  /** Called as each result comes. */
  onResult?: (result: CheckResult) => void;
  find?: () => Promise<FoundBackend | undefined>;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** Loading a model into memory can take minutes; most servers are ready in one. */
const TOKEN_TIMEOUT_MS = 120_000;

/**
 * Tries what a worker needs, one step after the other. Never rejects. The relay sees a worker without
 * models come and go, and gives it nothing.
 */
export async function checkWorker(config: WorkerConfig, parts: CheckParts): Promise<CheckResult[]> {
  const results: CheckResult[] = [];
  function add(step: CheckStep, outcome: Outcome): boolean {
    const result = { step, ...outcome };
    results.push(result);
    parts.onResult?.(result);
    return outcome.ok !== false;
  }
  async function run(
    step: CheckStep,
    ready: boolean,
    target: string,
    act: () => Promise<Outcome>,
  ): Promise<boolean> {
    if (!ready) {
      add(step, { target, ok: undefined, details: NOT_TRIED });
      return false;
    }
    try {
      return add(step, await act());
    } catch (error) {
      return add(step, { target, ok: false, details: messageOf(error) });
    }
  }

  const relay = connectUrl(config);
  const secure = relay.protocol === "https:";
  const port = relay.port === "" ? (secure ? 443 : 80) : Number(relay.port);
  const host = relay.hostname.replace(/^\[|\]$/g, "");

  const resolves = await run("name resolves", true, host, () => checkName(host));
  const reachable = await run("relay reachable", resolves, relay.host, () => checkReachable(host, port));
  const trusted = await run("certificate trusted", reachable, relay.host, () =>
    secure
      ? checkCertificate(config, relay.host, parts.clock)
      : Promise.resolve({
          target: relay.host,
          ok: undefined,
          details: "not needed: the relay's address begins with http:, so nothing is encrypted",
        }),
  );
  await run("secret accepted", trusted, relay.href, () => checkSecret(config, parts.clock));

  let backendUrl = config.backendUrl === undefined ? undefined : normalizeBackendUrl(config.backendUrl);
  let listed: string[] = [];
  const up = await run(
    "backend up",
    true,
    backendUrl === undefined ? "this machine" : shownUrl(backendUrl),
    async () => {
      if (backendUrl === undefined) {
        const found = await (parts.find ?? findBackend)();
        backendUrl = found?.url;
        listed = found?.models ?? [];
        const details = describeBackend(found);
        return found !== undefined
          ? { target: found.url, ok: true, details }
          : {
              target: "this machine",
              ok: false,
              details,
              action: "Start an inference server, or name its address with --backend-url",
            };
      }
      const report = await listModels(backendUrl, config.backendApiKey);
      if (report.up) listed = report.models ?? [];
      return report.up
        ? { target: shownUrl(backendUrl), ok: true, details: "it answers" }
        : {
            target: shownUrl(backendUrl),
            ok: false,
            details: report.problem.message,
            ...actionOf(report.problem.action),
          };
    },
  );

  const offered = [...offeredModels(config.models, listed).values()];
  const target = backendUrl === undefined ? "the backend" : shownUrl(backendUrl);
  const found = await run("models found", up, target, () =>
    Promise.resolve(checkModels(target, offered, listed)),
  );
  const model = offered[0]?.backend ?? "";
  await run("one token generated", found && model !== "", model, () =>
    checkToken(config, backendUrl ?? "", model, parts.clock),
  );
  return results;
}

function actionOf(action: string | undefined): { action?: string } {
  return action === undefined ? {} : { action };
}

async function checkName(host: string): Promise<Outcome> {
  try {
    const addresses = await lookup(host, { all: true });
    return { target: host, ok: true, details: addresses.map(({ address }) => address).join(", ") };
  } catch (error) {
    return {
      target: host,
      ok: false,
      details: describeNetworkError(error),
      action: "Check the name in --proxy-url, and that its DNS record exists",
    };
  }
}

async function checkReachable(host: string, port: number): Promise<Outcome> {
  const target = `${host}:${port}`;
  const socket = connectTcp({ host, port });
  try {
    await once(socket, "connect");
    return { target, ok: true, details: "a connection was accepted" };
  } catch (error) {
    return {
      target,
      ok: false,
      details: describeNetworkError(error),
      action:
        "Check that the relay runs, that --proxy-url has the right port, and that no firewall is in between",
    };
  } finally {
    socket.destroy();
  }
}

async function checkCertificate(config: WorkerConfig, target: string, clock: Clock): Promise<Outcome> {
  const tried = await tryTrust(config, clock);
  if ("details" in tried) return { target, ok: true, details: tried.details };
  const { message, action } = describeFailure(tried.failure);
  return { target, ok: false, details: message, action };
}

/** Waits for one event of a socket; rejects on an error or after 10 s. */
function once(socket: ReturnType<typeof connectTcp>, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once(event, () => resolve());
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => reject(new Error("no answer within 10 s")));
  });
}

async function checkSecret(config: WorkerConfig, clock: Clock): Promise<Outcome> {
  const target = connectUrl(config).href;
  const failure = (await probeLink(config, clock)).failure ?? (await tryRegistration(config, clock));
  if (failure === undefined) return { target, ok: true, details: "the relay accepts this worker" };
  const { message, action } = describeFailure(failure);
  return { target, ok: false, details: message, action };
}

/** Registers without any model, so that nothing is sent here, and leaves; an upgrade alone proves no secret. */
function tryRegistration(config: WorkerConfig, clock: Clock): Promise<DialFailure | undefined> {
  return new Promise((resolve) => {
    const session = openSession(
      { ...config, linkVersion: "v1" },
      { clock },
      {
        registration: () => ({
          name: `${config.workerName} (check)`,
          models: [],
          maxConcurrent: 1,
          load: 0,
          protocolVersion: V1_VERSION,
          features: [],
        }),
        registered() {
          resolve(undefined);
          session.close(CLOSE.normal, "checked");
        },
        request() {},
        cancel() {},
        drain() {},
        refreshModels() {},
        load: () => 0,
        ended: (end) => resolve(end.kind === "failed" ? end.failure : undefined),
      },
    );
  });
}

function checkModels(
  target: string,
  offered: { public: string; backend: string }[],
  listed: string[],
): Outcome {
  const names = offered.map((name) =>
    name.public === name.backend ? name.public : `${name.public}=${name.backend}`,
  );
  if (names.length === 0) {
    return {
      target,
      ok: false,
      details: "it lists no models",
      action: "Load a model into the backend, or name the models with --models",
    };
  }
  const missing = offered.filter((name) => listed.length > 0 && !listed.includes(name.backend));
  if (missing.length === 0) return { target, ok: true, details: names.join(", ") };
  return {
    target,
    ok: false,
    details: `it does not list ${missing.map((name) => `"${name.backend}"`).join(", ")}; it lists ${listed.join(", ")}`,
    action: "Correct --models, or load the model into the backend",
  };
}

async function checkToken(config: WorkerConfig, url: string, model: string, clock: Clock): Promise<Outcome> {
  const backend = createBackend({
    url,
    apiKey: config.backendApiKey,
    clock,
    firstByteTimeoutMs: TOKEN_TIMEOUT_MS,
    idleTimeoutMs: TOKEN_TIMEOUT_MS,
  });
  try {
    return await askForToken(backend, model, clock);
  } finally {
    backend.close();
  }
}

async function askForToken(backend: Backend, model: string, clock: Clock): Promise<Outcome> {
  // A model for completions or embeddings alone refuses the chat; one that answers any of these works.
  const attempts = [
    ["/v1/chat/completions", { messages: [{ role: "user", content: "Hi" }], max_tokens: 1 }],
    ["/v1/completions", { prompt: "Hi", max_tokens: 1 }],
    ["/v1/embeddings", { input: "Hi" }],
  ] as const;
  let first: string | undefined;
  for (const [path, fields] of attempts) {
    const body = new TextEncoder().encode(JSON.stringify({ model, ...fields }));
    const headers = { "content-type": "application/json" };
    const startedAt = clock.now();
    const { status, text } = await collectAnswer(backend, { method: "POST", path, headers, body });
    if (status === 200) {
      return {
        target: model,
        ok: true,
        details: `${path} answered in ${Math.round(clock.now() - startedAt)} ms`,
      };
    }
    first ??= `${path} answered HTTP ${status}: ${text.slice(0, 200)}`;
  }
  return {
    target: model,
    ok: false,
    details: first ?? "",
    action: "Look into the backend's log for the reason",
  };
}
