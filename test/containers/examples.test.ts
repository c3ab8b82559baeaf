import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { ALL_COMMANDS } from "../../src/commands/all-commands.ts";
import { surroundings } from "../../src/commands/command.ts";
import { settingsOf } from "../../src/commands/options.ts";
import { readConfig } from "../../src/commands/read-config.ts";
import { runProgram } from "../e2e/program.ts";
import { lacksPart, requirePart } from "../support/parts.ts";

const ROOT = join(import.meta.dir, "../..");
const KUBERNETES = join(ROOT, "examples/kubernetes");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

type Variables = Record<string, string | number>;

/** Reads a container's settings as the program in it would. @throws {UsageError} as the program would */
function parse(command: readonly string[], variables: Variables): Record<string, unknown> {
  const [name = "", ...args] = command;
  const found = ALL_COMMANDS.find((one) => one.name === name);
  if (found === undefined) throw new Error(`There is no command "${name}"`);
  const known = new Set(settingsOf(found.options).map(({ env }) => env));
  expect(Object.keys(variables).filter((variable) => !known.has(variable))).toEqual([]);
  // Files of secrets are in the container alone.
  const env = Object.fromEntries(
    Object.entries(variables).flatMap(([variable, value]) =>
      variable.endsWith("_FILE") ? [] : [[variable, String(value)]],
    ),
  );
  return readConfig(found.name, found.options, { args, around: surroundings(env) }).config;
}

/** The instructions of a Dockerfile, one a line, with what follows them. */
function instructions(text: string): [name: string, rest: string][] {
  return text
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]);
}

describe("The Dockerfile", () => {
  const lines = instructions(read("Dockerfile"));
  const last = lines.slice(lines.findLastIndex(([name]) => name === "FROM"));
  const only = (name: string): string => {
    const found = last.filter(([instruction]) => instruction === name);
    expect(found).toHaveLength(1);
    return found[0]?.[1] ?? "";
  };

  test("builds with the Bun that everything else is built with", () => {
    expect(lines[0]).toEqual([
      "FROM",
      `--platform=$BUILDPLATFORM docker.io/oven/bun:${packageJson.devDependencies.bun}-slim AS build`,
    ]);
  });

  test("runs as a user who is named by number, so that Kubernetes can tell that it is not root", () => {
    expect(only("USER")).toBe("65532:65532");
  });

  test("has no shell in any of its instructions that are carried out in the image", () => {
    expect(last.filter(([name]) => name === "RUN")).toEqual([]);
    const health = /CMD (\[.*\])$/.exec(only("HEALTHCHECK"))?.[1] ?? "";
    for (const list of [only("ENTRYPOINT"), only("CMD"), health]) expect(JSON.parse(list)).toBeArray();
  });

  test("asks for its health by a command that there is", () => {
    const [program, ...words] = JSON.parse(
      /CMD (\[.*\])$/.exec(only("HEALTHCHECK"))?.[1] ?? "[]",
    ) as string[];
    expect([program]).toEqual(JSON.parse(only("ENTRYPOINT")));
    expect(parse(words, {})).toMatchObject({ json: true });
  });

  test("serves, unless it is told something else, where other containers reach it", () => {
    const [, variables = ""] = last.find(([name]) => name === "ENV") ?? [];
    const env = Object.fromEntries(variables.split(/\s+/).map((pair) => pair.split("=")));
    const config = parse(JSON.parse(only("CMD")) as string[], env as Variables);
    expect(config).toMatchObject({ listen: { host: "::", port: 8080 }, dataDir: only("VOLUME") });
    expect(only("EXPOSE")).toBe("8080");
  });

  test("is given by .dockerignore all that it copies, and nothing of git or of builds", () => {
    const ignored = read(".dockerignore").split("\n");
    expect(ignored).toContain("*");
    const copied = lines
      .filter(([name, rest]) => name === "COPY" && !rest.startsWith("--from"))
      .flatMap(([, rest]) => rest.split(" ").slice(0, -1));
    expect(copied.length).toBeGreaterThan(3);
    expect(ignored.filter((line) => line.startsWith("!")).toSorted()).toEqual(
      copied.map((path) => `!${path}`).toSorted(),
    );
  });
});

interface Compose {
  services: Record<
    string,
    { image: string; command?: string[]; environment?: Variables; stop_grace_period?: string }
  >;
}

describe("examples/docker-compose.yml", () => {
  const { services } = Bun.YAML.parse(read("examples/docker-compose.yml")) as Compose;
  const ours = Object.entries(services).filter(([, { image }]) => image === "modelrelay");

  test("starts a relay, a worker and Ollama", () => {
    expect(Object.keys(services)).toEqual(["relay", "worker", "ollama"]);
    expect(ours.map(([name]) => name)).toEqual(["relay", "worker"]);
  });

  for (const [name, { command = [], environment = {}, stop_grace_period }] of ours) {
    test(`gives the ${name} settings that it takes, and time to drain`, () => {
      const config = parse(command, environment);
      expect(Number.parseInt(stop_grace_period ?? "0", 10) * 1000).toBeGreaterThan(
        config["drainTimeoutMs"] as number,
      );
    });
  }
});

interface Container {
  name: string;
  image: string;
  args?: string[];
  env?: { name: string; value?: string }[];
  ports?: { name: string; containerPort: number }[];
  lifecycle?: { preStop: { sleep: { seconds: number } } };
  volumeMounts: { name: string; mountPath: string }[];
  [probe: `${string}Probe`]: { httpGet?: { path: string; port: string } };
}

interface Manifest {
  kind: string;
  metadata: { name: string };
  stringData?: Record<string, string>;
  spec: {
    template: {
      spec: {
        terminationGracePeriodSeconds: number;
        containers: Container[];
        volumes: { name: string; secret?: { secretName: string } }[];
      };
    };
  };
}

describe("examples/kubernetes", () => {
  const kustomization = Bun.YAML.parse(read("examples/kubernetes/kustomization.yaml")) as {
    resources: string[];
    images: { name: string; newTag: string }[];
  };
  const manifests = kustomization.resources.flatMap((file) => {
    const found = Bun.YAML.parse(read(`examples/kubernetes/${file}`)) as Manifest | Manifest[];
    return Array.isArray(found) ? found : [found];
  });
  const pods = manifests.filter(({ kind }) => kind === "Deployment" || kind === "DaemonSet");

  test("names every file of its folder, and the image of this version", () => {
    const files = [...new Bun.Glob("*.yaml").scanSync(KUBERNETES)];
    expect([...kustomization.resources, "kustomization.yaml"].toSorted()).toEqual(files.toSorted());
    expect(kustomization.images.find(({ name }) => name === "modelrelay")?.newTag).toBe(packageJson.version);
  });

  for (const { metadata, spec } of pods) {
    const { containers, terminationGracePeriodSeconds, volumes } = spec.template.spec;
    const [container] = containers.filter(({ image }) => image === "modelrelay");
    if (container === undefined) throw new Error(`There is no modelrelay in ${metadata.name}`);
    const config = () =>
      parse(
        container.args ?? [],
        Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value ?? "node-1"])),
      );

    test(`gives the ${metadata.name} settings that it takes, and time to drain`, () => {
      const beforeMs = (container.lifecycle?.preStop.sleep.seconds ?? 0) * 1000;
      const drainMs = config()["drainTimeoutMs"] as number;
      expect(terminationGracePeriodSeconds * 1000).toBeGreaterThan(beforeMs + drainMs);
    });

    test(`gives the ${metadata.name} the secrets that it reads, which nobody knows from here`, () => {
      const mount = container.volumeMounts.find(({ name }) => name === "secret")?.mountPath ?? "";
      const name = volumes.find((volume) => volume.name === "secret")?.secret?.secretName;
      const secret = manifests.find(({ kind, metadata: its }) => kind === "Secret" && its.name === name);
      const files = (container.env ?? []).filter((variable) => variable.name.endsWith("_FILE"));
      expect(files.map(({ value = "" }) => value).toSorted((a, b) => a.localeCompare(b))).toEqual(
        Object.keys(secret?.stringData ?? {})
          .map((key) => `${mount}/${key}`)
          .toSorted(),
      );
      expect(new Set(Object.values(secret?.stringData ?? {}))).toEqual(new Set([""]));
    });
  }

  test("asks the relay for its health where it tells it", () => {
    const relay = pods.find(({ kind }) => kind === "Deployment")?.spec.template.spec.containers[0];
    expect(relay?.ports).toEqual([{ name: "http", containerPort: 8080 }]);
    expect(relay?.livenessProbe?.httpGet).toEqual({ path: "/livez", port: "http" });
    expect(relay?.readinessProbe?.httpGet).toEqual({ path: "/readyz", port: "http" });
  });
});

const skip = lacksPart("containers");

describe.skipIf(skip)("The validators", () => {
  const tool = (name: string): string => join(dirname(requirePart("containers")), name);

  test("find nothing in the Dockerfile (hadolint)", async () => {
    expect(await runProgram([tool("hadolint"), join(ROOT, "Dockerfile")])).toEqual({
      stdout: "",
      stderr: "",
      code: 0,
    });
  });

  test("take the Compose file for one (compose-spec)", async () => {
    const script =
      "import sys, compose_spec; print(*compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read()).service_names())";
    const file = join(ROOT, "examples/docker-compose.yml");
    expect(await runProgram([requirePart("containers"), "-c", script, file])).toEqual({
      stdout: "relay worker ollama\n",
      stderr: "",
      code: 0,
    });
  });

  for (const version of ["1.30", "1.37"]) {
    test(`take the manifests for Kubernetes ${version} (kubernetes-validate, strict)`, async () => {
      const files = [...new Bun.Glob("*.yaml").scanSync(KUBERNETES)].filter(
        (file) => file !== "kustomization.yaml",
      );
      const command = [tool("kubernetes-validate"), "--strict", "-k", version];
      const { stdout, code } = await runProgram([...command, ...files.map((file) => join(KUBERNETES, file))]);
      expect({ code, failed: stdout.split("\n").filter((line) => !/passed|^$/.test(line)) }).toEqual({
        code: 0,
        failed: [],
      });
    });
  }
});
