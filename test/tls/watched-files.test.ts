import { describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KeyPair } from "../../src/tls/certificate.ts";
import { selfSignedPair } from "../../src/tls/self-signed.ts";
import { Desk } from "./watched-desk.ts";

const DAY = 86_400_000;

describe("Certificate files", () => {
  test("are read at the start, and left alone while they do not change", async () => {
    using desk = new Desk();
    const pair = desk.pair("a.example");
    desk.put(pair);
    using files = await desk.watch();
    expect([files.pair, files.facts.names, files.lastError]).toEqual([pair, ["a.example"], undefined]);
    await desk.look(10);
    // Written again with the same bytes.
    desk.put(pair);
    await desk.look(2);
    expect([desk.served, desk.said]).toEqual([[], []]);
  });

  test("that change are served at the next look, within seconds", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    using files = await desk.watch();
    const next = desk.pair("b.example");
    desk.put(next);
    await desk.look();
    expect([desk.served, files.pair, files.facts.names]).toEqual([["b.example"], next, ["b.example"]]);
    expect(desk.said).toEqual(["info A new certificate is served"]);
  });

  test("may be links: certbot's into archive/, and Kubernetes' over ..data", async () => {
    using desk = new Desk();
    const store = (name: string, pair: KeyPair) => {
      mkdirSync(join(desk.dir, name));
      writeFileSync(join(desk.dir, name, "fullchain.pem"), pair.chainPem);
      writeFileSync(join(desk.dir, name, "privkey.pem"), pair.keyPem);
    };
    const point = (link: string, target: string) => {
      symlinkSync(target, join(desk.dir, "new"));
      renameSync(join(desk.dir, "new"), join(desk.dir, link));
    };
    store("archive1", desk.pair("certbot1"));
    store("archive2", desk.pair("certbot2"));
    for (const file of ["fullchain.pem", "privkey.pem"]) point(file, `archive1/${file}`);
    using certbot = await desk.watch();
    for (const file of ["privkey.pem", "fullchain.pem"]) point(file, `archive2/${file}`);
    await desk.look();
    expect([desk.served, certbot.facts.names]).toEqual([["certbot2"], ["certbot2"]]);
    certbot.close();

    store("..1", desk.pair("kube1"));
    store("..2", desk.pair("kube2"));
    point("..data", "..1");
    for (const file of ["fullchain.pem", "privkey.pem"]) point(file, `..data/${file}`);
    using kubernetes = await desk.watch();
    point("..data", "..2");
    await desk.look();
    expect([desk.served, kubernetes.facts.names]).toEqual([["certbot2", "kube2"], ["kube2"]]);
  });

  test("that are replaced one after the other are taken up when both are there, without a complaint", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    using files = await desk.watch();
    const next = desk.pair("b.example");
    desk.put({ chainPem: next.chainPem.slice(0, 100) });
    await desk.look();
    unlinkSync(desk.certFile);
    await desk.look();
    desk.put({ chainPem: next.chainPem });
    await desk.look(2);
    expect([desk.said, files.lastError, files.facts.names]).toEqual([[], undefined, ["a.example"]]);
    desk.put({ keyPem: next.keyPem });
    await desk.look();
    expect([desk.served, desk.said]).toEqual([["b.example"], ["info A new certificate is served"]]);
  });

  test("that stay wrong are refused once, ten seconds after the first look, while the old pair goes on", async () => {
    using desk = new Desk();
    const pair = desk.pair("a.example");
    desk.put(pair);
    using files = await desk.watch();
    desk.put({ chainPem: desk.pair("b.example").chainPem });
    await desk.look(5);
    expect([desk.said, files.lastError]).toEqual([[], undefined]);
    await desk.look();
    const at = desk.clock.wall();
    await desk.look(50);
    expect(desk.said).toHaveLength(1);
    expect(desk.said[0]).toStartWith("error Cannot use the certificate: the key does not belong to it");
    expect(desk.said[0]).toEndWith(
      `(certificate "${desk.certFile}", key "${desk.keyFile}"); the certificate from before is still served`,
    );
    expect([files.lastError?.at, files.pair, desk.served]).toEqual([at, pair, []]);
    expect(files.lastError?.action).toContain("that were made together");

    // Another reason is another line.
    unlinkSync(desk.keyFile);
    await desk.look(3);
    expect(desk.said).toHaveLength(2);
    expect(files.lastError?.message).toBe(`Cannot read the key "${desk.keyFile}": there is no such file`);

    desk.put(pair);
    await desk.look();
    expect([files.lastError, desk.said.slice(2)]).toEqual([
      undefined,
      ["info The certificate's files hold the pair again that is served"],
    ]);
  });

  test("that are not valid yet are served as soon as they are", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    using files = await desk.watch();
    desk.put(selfSignedPair({ names: ["soon"], nowMs: desk.clock.wall() + DAY + 60_000 }));
    await desk.look(29);
    expect(desk.served).toEqual([]);
    expect(files.lastError?.message).toContain("it is not valid before");
    await desk.look(2);
    expect([desk.served, files.lastError]).toEqual([["soon"], undefined]);
  });

  test("are looked at at once on a reload, which says what is wrong without waiting", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    using files = await desk.watch();
    expect(await files.reload()).toBeUndefined();
    expect(desk.said).toEqual(["info The certificate's files were read again"]);
    writeFileSync(desk.keyFile, "nothing");
    for (let times = 0; times < 2; times += 1) {
      expect((await files.reload())?.message).toStartWith("Cannot read the key: it is not PEM");
      expect(desk.said.filter((line) => line.startsWith("error"))).toHaveLength(times + 1);
    }
    await desk.look(20);
    expect(desk.said.filter((line) => line.startsWith("error"))).toHaveLength(2);
    desk.put(desk.pair("b.example"));
    const both = await Promise.all([files.reload(), files.reload()]);
    expect([both, desk.served]).toEqual([[undefined, undefined], ["b.example"]]);
  });

  test("are tried again when the new pair could not be served", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    let refused = 0;
    using files = await desk.watch({
      async onChange(_, facts) {
        refused += 1;
        if (refused < 8) throw new Error("no more sockets");
        desk.served.push(facts.names.join());
      },
    });
    desk.put(desk.pair("b.example"));
    await desk.look(7);
    expect(files.facts.names).toEqual(["a.example"]);
    expect(files.lastError?.message).toBe(`Cannot serve the certificate "${desk.certFile}": no more sockets`);
    await desk.look();
    expect([desk.served, files.facts.names, files.lastError]).toEqual([
      ["b.example"],
      ["b.example"],
      undefined,
    ]);
  });

  test("that nobody renews are warned of with 14 days left, with 3, and at the end, once each", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    using files = await desk.watch();
    const left = async (days: number) => {
      desk.clock.jumped += files.facts.notAfter - days * DAY - desk.clock.wall();
      desk.said.length = 0;
      await desk.look(3);
      return desk.said;
    };
    expect(await left(15)).toEqual([]);
    expect(await left(13.9)).toEqual([
      "warn The certificate for a.example expires in 13 days and has not been renewed",
    ]);
    expect(await left(4)).toEqual([]);
    expect(await left(2.9)).toEqual([
      "warn The certificate for a.example expires in 2 days and has not been renewed",
    ]);
    expect(await left(0.5)).toEqual([]);
    expect(await left(0)).toEqual([
      `error The certificate for a.example expired on ${new Date(files.facts.notAfter).toISOString()}: clients refuse it`,
    ]);
    expect(await left(-1)).toEqual([]);
    desk.put(desk.pair("b.example"));
    await desk.look();
    expect(await left(13)).toHaveLength(1);
  });

  test("of six days are not warned of while they are young", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example", 5));
    using _ = await desk.watch();
    desk.clock.jumped += 3 * DAY;
    await desk.look();
    expect(desk.said).toEqual([]);
    desk.clock.jumped += DAY;
    await desk.look();
    expect(desk.said).toHaveLength(1);
  });

  test("are not looked at any more once that is closed, also in the middle of a look", async () => {
    using desk = new Desk();
    desk.put(desk.pair("a.example"));
    const files = await desk.watch();
    desk.put(desk.pair("b.example"));
    const looked = files.reload();
    files.close();
    await looked;
    expect([desk.clock.pending, desk.served, desk.said]).toEqual([[], [], []]);
    await files.reload();
    expect([desk.clock.pending, desk.served]).toEqual([[], []]);
  });
});
