import { describe, expect, test } from "bun:test";
import { serveOptions } from "../../src/commands/serve-options.ts";
import { workerOptions } from "../../src/commands/worker-options.ts";
import { compareConfig } from "../../src/commands/read-config.ts";
import { mistake, reader, TempDir } from "./reading.ts";

const serve = reader("serve", serveOptions);
const worker = reader("worker", workerOptions);

describe("Settings", () => {
  test("serve has the documented defaults", () => {
    expect(serve([]).config).toEqual({
      listen: { host: "127.0.0.1", port: 8080 },
      workerSecret: undefined,
      apiKey: undefined,
      tls: false,
      domain: undefined,
      email: undefined,
      acmeDirectory: undefined,
      acmeStaging: false,
      acmeCaFile: undefined,
      acmeEabKid: undefined,
      acmeEabKey: undefined,
      httpsPort: { host: "::", port: 443 },
      httpPort: { host: "::", port: 80 },
      tlsCert: undefined,
      tlsKey: undefined,
      tlsSelfSigned: false,
      hsts: false,
      http2: true,
      http3: false,
      trustedProxy: [],
      requireApiKeys: undefined,
      allowAnonymous: false,
      keyCacheTtlMs: 900_000,
      adminToken: undefined,
      metricsToken: undefined,
      anonymousRpm: undefined,
      anonymousTpm: undefined,
      anonymousConcurrency: undefined,
      relayRpm: 0,
      relayTpm: 0,
      relayConcurrency: 0,
      provider: "local",
      maxQueueLen: 100,
      queueTimeoutMs: 30_000,
      requestTimeoutMs: 300_000,
      maxBody: 134_217_728,
      maxInflightBytes: 1_073_741_824,
      maxResponseBuffer: 67_108_864,
      linkGraceMs: 15_000,
      linkWindow: 262_144,
      sseKeepaliveMs: 15_000,
      corsOrigin: ["*"],
      drainTimeoutMs: 30_000,
      handoverTimeoutMs: 3_600_000,
      usageRetentionMs: 7_776_000_000,
      logBodies: false,
      logBodiesRetentionMs: 604_800_000,
      logBodiesLimit: 1_048_576,
      dataDir: "/home/ada/.local/share/modelrelay",
      databaseUrl: undefined,
      otlpEndpoint: undefined,
      otlpTracesEndpoint: undefined,
      otlpHeaders: undefined,
      otlpTimeoutMs: 10_000,
      otlpCompression: "none",
      otelServiceName: undefined,
      otelResourceAttributes: undefined,
      tracesSampler: "parentbased_always_on",
      tracesSamplerArg: 1,
      logLevel: "info",
      logFormat: "pretty",
      config: undefined,
    });
  });

  test("worker has the documented defaults", () => {
    expect(worker([]).config).toEqual({
      proxyUrl: "http://127.0.0.1:8080",
      workerSecret: undefined,
      caFile: undefined,
      pin: undefined,
      backendUrl: undefined,
      backendApiKey: undefined,
      models: { all: true, names: [] },
      maxConcurrency: 1,
      linkVersion: "auto",
      compress: false,
      workerName: "gpu-box",
      provider: "local",
      firstByteTimeoutMs: 0,
      idleTimeoutMs: 0,
      drainTimeoutMs: 30_000,
      check: false,
      logLevel: "info",
      logFormat: "pretty",
      config: undefined,
    });
  });

  test("a flag wins over the environment, that over the file, that over the default", () => {
    using dir = new TempDir();
    const file = dir.write("relay.toml", "[serve]\nmax-queue-len = 1\n");
    const two = { MAX_QUEUE_LEN: "2" };
    const read = (args: string[], env: Record<string, string> = {}) => {
      const { config, origins } = serve(args, env);
      return [config.maxQueueLen, origins.maxQueueLen];
    };
    expect([
      read(["--config", file, "--max-queue-len", "3"], two),
      read(["--config", file], two),
      read(["--config", file]),
      read([]),
    ]).toEqual([
      [3, "flag --max-queue-len"],
      [2, "environment variable MAX_QUEUE_LEN"],
      [1, `"${file}" key [serve].max-queue-len`],
      [100, "default"],
    ]);
  });

  test("an empty environment variable counts as not set", () => {
    expect(serve([], { LISTEN_ADDR: "", WORKER_SECRET: "", WORKER_SECRET_FILE: "" }).config).toEqual(
      serve([]).config,
    );
  });

  test("the names that operators use in the environment are all read", () => {
    const { config } = serve([], {
      LISTEN_ADDR: "[::1]:0",
      WORKER_SECRET: "s",
      MODELRELAY_API_KEY: "mr_live_1",
      MODELRELAY_TLS: "1",
      MODELRELAY_DOMAIN: "Relay.Example.com, b.example.com",
      ACME_EMAIL: "ops@example.com",
      ACME_DIRECTORY: "https://ca.example.com/dir",
      ACME_STAGING: "no",
      ACME_CA_FILE: "/etc/ca.pem",
      ACME_EAB_KID: "kid",
      ACME_EAB_KEY: "key",
      HTTPS_PORT: "8443",
      HTTP_PORT: "off",
      TLS_CERT: "/etc/fullchain.pem",
      TLS_KEY: "/etc/privkey.pem",
      TLS_SELF_SIGNED: "0",
      HSTS: "true",
      HTTP2: "no",
      HTTP3: "yes",
      TRUSTED_PROXY: "10.0.0.0/8,192.0.2.7",
      MODELRELAY_ANONYMOUS_RPM: "1",
      MODELRELAY_ANONYMOUS_TPM: "2",
      MODELRELAY_ANONYMOUS_CONCURRENCY: "3",
      MODELRELAY_RELAY_RPM: "4",
      MODELRELAY_RELAY_TPM: "5",
      MODELRELAY_RELAY_CONCURRENCY: "6",
      PROVIDER_NAME: "p",
      MAX_QUEUE_LEN: "0",
      QUEUE_TIMEOUT_SECS: "1",
      REQUEST_TIMEOUT_SECS: "0",
      LOG_LEVEL: "DEBUG",
      MODELRELAY_USAGE_RETENTION: "7d",
      MODELRELAY_LOG_BODIES: "yes",
      MODELRELAY_LOG_BODIES_RETENTION: "1d",
      MODELRELAY_LOG_BODIES_LIMIT: "64KiB",
      MODELRELAY_DATA_DIR: "/srv/mr",
      MAX_BODY: "1MiB",
      MAX_INFLIGHT_BYTES: "2MiB",
      MAX_RESPONSE_BUFFER: "4096",
      LINK_GRACE_SECS: "1m",
      LINK_WINDOW: "1MiB",
      SSE_KEEPALIVE_SECS: "2.5",
      MODELRELAY_ALLOW_ANONYMOUS: "yes",
      MODELRELAY_METRICS_TOKEN: "scrape",
      MODELRELAY_REQUIRE_API_KEYS: "true",
      MODELRELAY_KEY_CACHE_TTL: "1h",
      MODELRELAY_ADMIN_TOKEN: "boss",
      DATABASE_URL: "postgres://ada:secret@db.example.com/modelrelay",
      CORS_ORIGIN: "none",
      DRAIN_TIMEOUT_SECS: "5m",
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318/",
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://traces.example.com/in?x=1",
      OTEL_EXPORTER_OTLP_HEADERS: "api-key=a%20b%2Cc, x-team=gpu",
      OTEL_EXPORTER_OTLP_TIMEOUT: "2500",
      OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
      OTEL_SERVICE_NAME: "relay-1",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test,host.name=a%3Db",
      OTEL_TRACES_SAMPLER: "traceidratio",
      OTEL_TRACES_SAMPLER_ARG: "0.25",
    });
    expect(config).toEqual({
      listen: { host: "::1", port: 0 },
      workerSecret: "s",
      apiKey: "mr_live_1",
      tls: true,
      domain: ["relay.example.com", "b.example.com"],
      email: "ops@example.com",
      acmeDirectory: "https://ca.example.com/dir",
      acmeStaging: false,
      acmeCaFile: "/etc/ca.pem",
      acmeEabKid: "kid",
      acmeEabKey: "key",
      httpsPort: { host: "::", port: 8443 },
      httpPort: "off",
      tlsCert: "/etc/fullchain.pem",
      tlsKey: "/etc/privkey.pem",
      tlsSelfSigned: false,
      hsts: true,
      http2: false,
      http3: true,
      trustedProxy: ["10.0.0.0/8", "192.0.2.7"],
      requireApiKeys: true,
      allowAnonymous: true,
      keyCacheTtlMs: 3_600_000,
      adminToken: "boss",
      metricsToken: "scrape",
      anonymousRpm: 1,
      anonymousTpm: 2,
      anonymousConcurrency: 3,
      relayRpm: 4,
      relayTpm: 5,
      relayConcurrency: 6,
      provider: "p",
      maxQueueLen: 0,
      queueTimeoutMs: 1_000,
      requestTimeoutMs: 0,
      maxBody: 1_048_576,
      maxInflightBytes: 2_097_152,
      maxResponseBuffer: 4_096,
      linkGraceMs: 60_000,
      linkWindow: 1_048_576,
      sseKeepaliveMs: 2_500,
      corsOrigin: [],
      drainTimeoutMs: 300_000,
      handoverTimeoutMs: 3_600_000,
      usageRetentionMs: 604_800_000,
      logBodies: true,
      logBodiesRetentionMs: 86_400_000,
      logBodiesLimit: 65_536,
      dataDir: "/srv/mr",
      databaseUrl: "postgres://ada:secret@db.example.com/modelrelay",
      otlpEndpoint: "http://collector:4318",
      otlpTracesEndpoint: "https://traces.example.com/in?x=1",
      otlpHeaders: { "api-key": "a b,c", "x-team": "gpu" },
      otlpTimeoutMs: 2_500,
      otlpCompression: "gzip",
      otelServiceName: "relay-1",
      otelResourceAttributes: { "deployment.environment.name": "test", "host.name": "a=b" },
      tracesSampler: "traceidratio",
      tracesSamplerArg: 0.25,
      logLevel: "debug",
      logFormat: "pretty",
      config: undefined,
    });
  });

  test("a bad value in the environment names the variable", () => {
    expect(mistake(() => serve([], { MAX_QUEUE_LEN: "many" }))).toEqual({
      message:
        'Cannot use "many" as max-queue-len (environment variable MAX_QUEUE_LEN): expected a whole number from 0 to 1000000',
      action: undefined,
    });
  });

  test("a password in an address is not shown", () => {
    const { message } = mistake(() => worker(["--proxy-url", "ftp://ada:hunter2@relay.example.com"]));
    expect(message).toBe(
      'Cannot use "ftp://…@relay.example.com" as proxy-url (flag --proxy-url): expected an http:// or https:// address',
    );
  });
});

describe("Secrets", () => {
  test("a secret is read from a file without the newline at its end", () => {
    using dir = new TempDir();
    const unix = dir.write("unix", "two words \n");
    const windows = dir.write("windows", "s3cret\r\n");
    expect([
      worker(["--worker-secret-file", unix]).config.workerSecret,
      worker([], { WORKER_SECRET_FILE: windows }).config.workerSecret,
      worker([], { BACKEND_API_KEY_FILE: windows }).config.backendApiKey,
    ]).toEqual(["two words ", "s3cret", "s3cret"]);
  });

  test("a secret and its file from one source are refused, naming both", () => {
    using dir = new TempDir();
    const file = dir.write("secret", "from-file");
    const toml = dir.write("w.toml", `[worker]\nworker-secret = "in-toml"\nworker-secret-file = "${file}"\n`);
    const messages = [
      mistake(() => worker(["--worker-secret", "hunter2", `--worker-secret-file=${file}`])),
      mistake(() => worker([], { WORKER_SECRET: "hunter2", WORKER_SECRET_FILE: file })),
      mistake(() => worker(["--config", toml])),
    ].map(({ message }) => message);
    expect(messages).toEqual([
      "Cannot use flag --worker-secret and flag --worker-secret-file together: each gives worker-secret",
      "Cannot use environment variable WORKER_SECRET and environment variable WORKER_SECRET_FILE together: each gives worker-secret",
      `Cannot use "${toml}" key [worker].worker-secret and "${toml}" key [worker].worker-secret-file together: each gives worker-secret`,
    ]);
  });

  test("a flag wins over the environment for a secret too, in whichever form", () => {
    using dir = new TempDir();
    const file = dir.write("secret", "from-file");
    expect([
      worker(["--worker-secret-file", file], { WORKER_SECRET: "from-env" }).config.workerSecret,
      worker(["--worker-secret", "typed"], { WORKER_SECRET_FILE: file }).config.workerSecret,
    ]).toEqual(["from-file", "typed"]);
  });

  test("a secret that cannot be used is not shown", () => {
    using dir = new TempDir();
    const file = dir.write("secret", "hunter2\nhunter3\n");
    const expected = "expected at least one character, all on one line";
    const messages = [
      mistake(() => worker(["--worker-secret", "hunter2\u0007"])),
      mistake(() => worker([], { BACKEND_API_KEY: "hunter2\n" })),
      mistake(() => worker(["--worker-secret-file", file])),
    ].map(({ message }) => message);
    expect(messages).toEqual([
      `Cannot use the value as worker-secret (flag --worker-secret): ${expected}`,
      `Cannot use the value as backend-api-key (environment variable BACKEND_API_KEY): ${expected}`,
      `Cannot use the value as worker-secret ("${file}", flag --worker-secret-file): ${expected}`,
    ]);
  });

  test("a secret file that is missing or empty is named", () => {
    using dir = new TempDir();
    const empty = dir.write("empty", "\n");
    expect([
      mistake(() => worker([], { WORKER_SECRET_FILE: `${dir.path}/none` })).message,
      mistake(() => worker(["--worker-secret-file", dir.path])).message,
      mistake(() => worker(["--worker-secret-file", empty])).message,
    ]).toEqual([
      `Cannot read the file of worker-secret "${dir.path}/none" (environment variable WORKER_SECRET_FILE): no such file`,
      `Cannot read the file of worker-secret "${dir.path}" (flag --worker-secret-file): it is a directory`,
      `Cannot use the file "${empty}" (flag --worker-secret-file): it is empty`,
    ]);
  });
});

describe("Reading again", () => {
  test("tells what changes at once from what needs a restart", () => {
    const before = serve([]).config;
    const after = serve([
      "--max-queue-len=5",
      "--cors-origin=none",
      "--listen=127.0.0.1:9",
      "--worker-secret=x",
    ]).config;
    expect(compareConfig(serveOptions, before, after)).toEqual({
      changed: { maxQueueLen: 5, corsOrigin: [] },
      needsRestart: ["listen", "worker-secret"],
    });
  });

  test("finds no difference between equal values that were read twice", () => {
    expect(compareConfig(serveOptions, serve([]).config, serve([]).config)).toEqual({
      changed: {},
      needsRestart: [],
    });
  });

  test("exactly the settings that are safe to change are marked", () => {
    const marked = Object.entries(serveOptions).flatMap(([key, option]) => ("reload" in option ? [key] : []));
    expect(marked.toSorted()).toEqual([
      "anonymousConcurrency",
      "anonymousRpm",
      "anonymousTpm",
      "corsOrigin",
      "drainTimeoutMs",
      "handoverTimeoutMs",
      "logLevel",
      "maxBody",
      "maxQueueLen",
      "queueTimeoutMs",
      "relayConcurrency",
      "relayRpm",
      "relayTpm",
      "requestTimeoutMs",
      "sseKeepaliveMs",
    ]);
  });
});
