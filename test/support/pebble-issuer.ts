// A process that gets one certificate and prints `{ keyPem, chainPem }`, or the failure. It can end itself
// with SIGKILL at a chosen point: each answer of the CA and each call of the store is a step.
//
// bun test/support/pebble-issuer.ts '{"dir": …, "names": […], "directoryUrl": …, "caPem": …, "killAt": 3}'

import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { openStore } from "../../src/tls/store/store.ts";

export interface IssuerInput {
  /** The store's. */
  dir: string;
  names: string[];
  directoryUrl: string;
  caPem?: string;
  /** The step after which the process ends; never if absent. */
  killAt?: number;
}

/** Counts a step that has just been done, and ends the process if it was the one. */
function stepped(input: IssuerInput, what: string): void {
  steps.push(what);
  if (steps.length === input.killAt) process.kill(process.pid, "SIGKILL");
}

const steps: string[] = [];

function watchFetch(input: IssuerInput): void {
  const send = globalThis.fetch;
  const watched = async (url: string, init: RequestInit): Promise<Response> => {
    const response = await send(url, init);
    // Read, so that what the CA did is done.
    const answer = new Response(await response.arrayBuffer(), response);
    stepped(input, `${init.method} ${new URL(url).pathname}`);
    return answer;
  };
  globalThis.fetch = Object.assign(watched as typeof fetch, send);
}

function watchStore<T extends object>(input: IssuerInput, store: T): T {
  return new Proxy(store, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== "function") return member;
      return async (...args: unknown[]) => {
        const result: unknown = await Reflect.apply(member, target, args);
        stepped(input, String(name));
        return result;
      };
    },
  });
}

async function main(input: IssuerInput): Promise<void> {
  watchFetch(input);
  const store = watchStore(input, openStore(input.dir, systemClock));
  const { directoryUrl, caPem } = input;
  const options = { directoryUrl, clock: systemClock, log: silentLog, ...(caPem !== undefined && { caPem }) };
  try {
    const { signal } = new AbortController();
    const pair = await issueCertificate(input.names, store, options, { signal });
    process.stdout.write(JSON.stringify({ ...pair, steps }));
  } catch (error) {
    process.stdout.write(JSON.stringify({ error: String(error), steps }));
    process.exitCode = 1;
  }
}

if (import.meta.main) void main(JSON.parse(process.argv[2] ?? "") as IssuerInput);
