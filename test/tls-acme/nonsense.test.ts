import { afterAll, describe, expect, test } from "bun:test";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { makeCertificate } from "../support/certificates.ts";
import { lacksPart } from "../support/parts.ts";
import { startFront, type PebbleFront } from "../support/pebble-front.ts";
import {
  failureOf,
  makeStore,
  neverAborted as signal,
  startSite,
  type Site,
} from "../support/pebble-site.ts";

const DAY_MS = 86_400_000;

let site: Site | undefined;
afterAll(async () => {
  await site?.[Symbol.asyncDispose]();
});

/** Orders from a CA that is changed on the way. @returns how that failed, and what is left of it */
async function orderFrom(change: (front: PebbleFront) => void) {
  site ??= await startSite({ nonceReject: 0 });
  using kept = makeStore();
  site.answerFrom(kept.store);
  await using front = startFront(site.pebble);
  change(front);
  const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
  const failure = await failureOf(issueCertificate(["a.example"], kept.store, options, { signal }));
  return {
    failure,
    requests: front.requests,
    stored: await kept.store.certificate("a.example"),
    pending: await kept.store.pendingOrder("a.example"),
  };
}

type Json = Record<string, unknown>;

function changed(change: (value: Json) => unknown): (body: string) => string {
  return (body) => JSON.stringify(change(JSON.parse(body) as Json));
}

/** Changes the challenges of an authorization. */
function withChallenges(change: (challenge: Json) => unknown): (body: string) => string {
  return changed((value) => ({ ...value, challenges: (value["challenges"] as Json[]).map(change) }));
}

const ORDER = /order-plz|my-order/;

const NONSENSE: [what: string, path: RegExp, change: (body: string) => string, named: string][] = [
  ["an order that is a list", ORDER, () => "[]", "all of it"],
  [
    "an order without authorizations",
    ORDER,
    changed((order) => ({ ...order, authorizations: undefined })),
    "authorizations",
  ],
  [
    "an order with thousands of authorizations",
    ORDER,
    changed((order) => ({ ...order, authorizations: Array(5_000).fill("https://127.0.0.1/a") })),
    "authorizations",
  ],
  [
    "an authorization in plain HTTP",
    ORDER,
    changed((order) => ({ ...order, authorizations: ["http://169.254.169.254/latest"] })),
    "authorizations.0: expected an https:// address",
  ],
  ["an order of an unknown status", ORDER, changed((order) => ({ ...order, status: 7 })), "status"],
  [
    "an order that cannot be finished",
    ORDER,
    changed((order) => ({ ...order, finalize: undefined })),
    "finalize",
  ],
  ["an empty authorization", /authZ/, () => "{}", "status"],
  ["an authorization of nobody", /authZ/, changed((value) => ({ ...value, identifier: null })), "identifier"],
  ["challenges that are none", /authZ/, withChallenges(() => null), "challenges.0"],
  [
    "a token that is a path",
    /authZ/,
    withChallenges((challenge) => ({ ...challenge, token: "../../state.json" })),
    "challenges.0.token: expected base64url",
  ],
  [
    "no token",
    /authZ/,
    withChallenges((challenge) => ({ ...challenge, token: undefined })),
    "challenges.0.token",
  ],
];

describe.skipIf(lacksPart("pebble"))("A CA that talks nonsense", () => {
  test.each(NONSENSE)("is told what is wrong with %s", async (_what, path, change, named) => {
    const { failure } = await orderFrom((front) => front.rewrite(path, change));
    expect(failure).toMatchObject({
      name: "AcmeError",
      type: "notUnderstood",
      message: expect.stringContaining(`the CA's answer is not understood (${named}`),
    });
  });

  test("is told so when it opens an account and keeps its address to itself", async () => {
    const headers = { "replay-nonce": "abc" };
    const { failure } = await orderFrom((front) =>
      front.fail({ path: /sign-me-up/, status: 201, body: "{}", headers }),
    );
    expect(failure).toMatchObject({
      type: "notUnderstood",
      message: expect.stringContaining("the account's address is missing"),
    });
  });

  test("cannot put a chain without end in place of a certificate", async () => {
    const { failure, stored, pending } = await orderFrom((front) =>
      front.rewrite(/certZ/, (chain) => chain.repeat(20)),
    );
    expect(failure).toMatchObject({
      type: "wrongCertificate",
      permanent: true,
      message: expect.stringMatching(/of no use: its chain has \d+ certificates$/),
    });
    expect([stored, pending]).toEqual([undefined, undefined]);
  });

  test("redirects nobody to plain HTTP, where anybody could answer", async () => {
    let asked = 0;
    using inside = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch() {
        asked++;
        return new Response("{}");
      },
    });
    const location = `http://127.0.0.1:${inside.port}/`;
    const { failure } = await orderFrom((front) =>
      front.fail({ path: /dir/, status: 302, headers: { location } }),
    );
    expect(failure).toMatchObject({ type: "notAcme", permanent: true });
    expect(failure.message).toContain(`it redirects to "${location}", which is no https:// address`);
    expect(asked).toBe(0);
  });

  test("redirects nobody for ever, and somebody once", async () => {
    const round = await orderFrom((front) =>
      front.fail({ path: /dir/, status: 302, headers: { location: "/dir" } }),
    );
    expect(round.failure.message).toContain("it redirects round and round");
    expect(round.requests).toHaveLength(6);
    const once = await orderFrom((front) => {
      front.fail({ path: /dir/, status: 302, headers: { location: "/dir" }, times: 1 });
      front.fail({ path: /nonce/, status: 503 });
    });
    // It got further than the directory.
    expect(once.failure.type).toBe("http503");
  });
});

describe.skipIf(lacksPart("pebble"))("A certificate that is of no use", () => {
  /** A CA's certificate for the key of the order, as the test wants it. */
  test.each([
    ["for another name", { names: ["b.example"] }, "it is not for a.example"],
    [
      "that has expired",
      { names: ["a.example"], notBefore: Date.now() - 9 * DAY_MS, notAfter: Date.now() - DAY_MS },
      "it expired on",
    ],
  ])("%s is not put in place of a better one", async (_what, options, why) => {
    site ??= await startSite({ nonceReject: 0 });
    using kept = makeStore();
    site.answerFrom(kept.store);
    await using front = startFront(site.pebble);
    const good = makeCertificate({ names: ["a.example"] });
    await kept.store.saveCertificate("a.example", good);
    const bad = makeCertificate(options);
    // The order's key is replaced by that of a certificate that is made here, which no real CA can do.
    const save = kept.store.savePendingOrder.bind(kept.store);
    kept.store.savePendingOrder = (domain, order) => {
      order.keyPem = bad.keyPem;
      return save(domain, order);
    };
    front.rewrite(/certZ/, () => bad.chainPem);
    const { directoryUrl, caPem } = front;
    const order = issueCertificate(
      ["a.example"],
      kept.store,
      { ...site.options, directoryUrl, caPem },
      { signal },
    );
    expect(await failureOf(order)).toMatchObject({
      type: "wrongCertificate",
      permanent: true,
      message: expect.stringContaining(`the CA sent one that is of no use: ${why}`),
    });
    expect((await kept.store.certificate("a.example"))?.chainPem).toBe(good.chainPem);
    expect(await kept.store.pendingOrder("a.example")).toBeUndefined();
  });
});
