import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "./certificates.ts";
import { requirePart } from "./parts.ts";
import { ServerProcess } from "./server-process.ts";

const START_MS = 10_000;
/** Another process can take a free port before Pebble does. */
const ATTEMPTS = 5;

export interface PebbleOptions {
  /** Where the CA looks for answers to challenges, instead of on port 80. */
  httpPort: number;
  /** `pebbleAri` has renewal information and profiles, which Debian's lacks. */
  part?: "pebble" | "pebbleAri";
  /** How many good nonces are refused, in percent. Pebble's own default is 5. */
  nonceReject?: number;
  /** Keys in base64url by their id; with any, the CA takes bound accounts alone. */
  eab?: Record<string, string>;
  /** Names that are refused. */
  blocked?: string[];
  /** What Pebble says in `Retry-After`, in seconds; `pebbleAri` alone. */
  retryAfterS?: number;
  env?: Record<string, string>;
}

export interface Pebble extends AsyncDisposable {
  directoryUrl: string;
  /** `https://127.0.0.1:<port>`. */
  url: string;
  /** For the CA's own HTTPS. */
  caPem: string;
  pid: number;
  log(): string;
  /** How many orders the CA has ever had. */
  orderCount(): number;
  accountCount(): number;
  /** The root of the certificates that it issues. */
  rootPem(): Promise<string>;
  /** `Valid` or `Revoked`, by serial in hexadecimal. */
  status(serial: string): Promise<string>;
  /** What the CA is to answer when asked for a certificate's renewal information; `pebbleAri` alone. */
  setRenewalInfo(chainPem: string, info: object | string): Promise<void>;
  /** Answers of the DNS that the CA asks, where every name is 127.0.0.1 at first. */
  dns: {
    /** No address for the name. */
    forget(name: string): Promise<void>;
    address(name: string, address: string): Promise<void>;
    clear(name: string): Promise<void>;
  };
}

/** Pebble takes no port 0, so it is handed ones that were free a moment ago. */
function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () =>
    Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }),
  );
  const ports = listeners.map(({ port }) => port);
  for (const listener of listeners) listener.stop(true);
  return ports;
}

function lastCount(log: string, what: string): number {
  const counts = [...log.matchAll(new RegExp(`There are now (\\d+) ${what}`, "g"))];
  return Number(counts.at(-1)?.[1] ?? 0);
}

/**
 * Starts Pebble, the CA that Let's Encrypt made for tests, and the DNS server that it asks.
 *
 * @throws {Problem} if a part is missing or does not come up
 */
export async function startPebble(options: PebbleOptions): Promise<Pebble> {
  const pebble = requirePart(options.part ?? "pebble");
  const challengeServer = requirePart("pebbleChallengeServer");
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-pebble-"));
  const https = makeCertificate({ names: ["localhost", "127.0.0.1"] });
  await Bun.write(join(dir, "cert.pem"), https.chainPem);
  await Bun.write(join(dir, "key.pem"), https.keyPem);
  const tls = { ca: https.chainPem };
  for (let attempt = 1; ; attempt++) {
    const [port = 0, management = 0, dnsPort = 0, dnsManagement = 0, unused = 0] = freePorts(5);
    const config = {
      pebble: {
        listenAddress: `127.0.0.1:${port}`,
        managementListenAddress: `127.0.0.1:${management}`,
        certificate: join(dir, "cert.pem"),
        privateKey: join(dir, "key.pem"),
        httpPort: options.httpPort,
        tlsPort: unused,
        ocspResponderURL: "",
        externalAccountBindingRequired: options.eab !== undefined,
        externalAccountMACKeys: options.eab ?? {},
        domainBlocklist: options.blocked ?? [],
        ...(options.part === "pebbleAri" && {
          retryAfter: { authz: options.retryAfterS ?? 0, order: options.retryAfterS ?? 0 },
          profiles: {
            default: { description: "Ninety days", validityPeriod: 7_776_000 },
            shortlived: { description: "Six days", validityPeriod: 518_400 },
          },
        }),
      },
    };
    await Bun.write(join(dir, "pebble.json"), JSON.stringify(config));
    const dns = new ServerProcess("pebble-challtestsrv", [
      challengeServer,
      "-defaultIPv6",
      "",
      "-http01",
      "",
      "-https01",
      "",
      "-tlsalpn01",
      "",
      "-dns01",
      `127.0.0.1:${dnsPort}`,
      "-management",
      `127.0.0.1:${dnsManagement}`,
    ]);
    const server = new ServerProcess(
      "pebble",
      [pebble, "-config", join(dir, "pebble.json"), "-dnsserver", `127.0.0.1:${dnsPort}`, "-strict"],
      {
        PEBBLE_VA_NOSLEEP: "1",
        PEBBLE_WFE_NONCEREJECT: String(options.nonceReject ?? 5),
        PEBBLE_AUTHZREUSE: "0",
        ...options.env,
      },
    );
    const dispose = async () => {
      await Promise.all([server[Symbol.asyncDispose](), dns[Symbol.asyncDispose]()]);
    };
    const ask = async (path: string, body?: string) => {
      const response = await fetch(`https://127.0.0.1:${management}${path}`, {
        tls,
        proxy: "",
        ...(body === undefined ? {} : { method: "POST", body }),
      });
      if (!response.ok) throw new Error(`Cannot use Pebble's ${path}: HTTP ${response.status}`);
      return response.text();
    };
    const setDns = async (path: string, body: object) => {
      const response = await fetch(`http://127.0.0.1:${dnsManagement}/${path}`, {
        method: "POST",
        body: JSON.stringify(body),
        proxy: "",
      });
      if (!response.ok) throw new Error(`Cannot set the DNS: HTTP ${response.status}`);
    };
    try {
      await server.logged(/ACME directory available/, START_MS);
      await dns.logged(/Starting management server/, START_MS);
      await answering(`https://127.0.0.1:${port}/dir`, tls, server);
      await answering(`https://127.0.0.1:${management}/roots/0`, tls, server);
      return {
        url: `https://127.0.0.1:${port}`,
        directoryUrl: `https://127.0.0.1:${port}/dir`,
        caPem: https.chainPem,
        pid: server.pid,
        log: () => server.log(),
        orderCount: () => lastCount(server.log(), "orders"),
        accountCount: () => lastCount(server.log(), "accounts"),
        rootPem: () => ask("/roots/0"),
        status: async (serial) =>
          (JSON.parse(await ask(`/cert-status-by-serial/${serial}`)) as { Status: string }).Status,
        setRenewalInfo: async (chainPem, info) => {
          const text = typeof info === "string" ? info : JSON.stringify(info);
          const [leaf] = chainPem.split(/(?<=-----END CERTIFICATE-----)/);
          await ask("/set-renewal-info/", JSON.stringify({ Certificate: leaf, ARIResponse: text }));
        },
        dns: {
          forget: (name) => setDns("set-servfail", { host: `${name}.` }),
          address: (name, address) => setDns("add-a", { host: `${name}.`, addresses: [address] }),
          async clear(name) {
            await setDns("clear-servfail", { host: `${name}.` });
            await setDns("clear-a", { host: `${name}.` });
          },
        },
        async [Symbol.asyncDispose]() {
          await dispose();
          rmSync(dir, { recursive: true, force: true });
        },
      };
    } catch (error) {
      await dispose();
      if (attempt < ATTEMPTS && /address already in use/.test(server.log() + dns.log())) continue;
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
  }
}

/** Pebble says that it listens before it does. */
async function answering(url: string, tls: { ca: string }, server: ServerProcess): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await (await fetch(url, { tls, proxy: "" })).text();
      return;
    } catch (error) {
      if (tries === 100 || /address already in use/.test(server.log())) throw error;
      await Bun.sleep(20);
    }
  }
}
