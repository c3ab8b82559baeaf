import { describe, expect, test } from "bun:test";
import { refuseForeignFolder, serviceSettings } from "../../src/commands/service-settings.ts";
import type { Scope, ServiceKind } from "../../src/service/index.ts";
import { mistake, surroundings, TempDir, type Env } from "../commands/reading.ts";

interface Around {
  scope?: Scope;
  known?: Env;
  env?: Env;
}

function settings(
  kind: ServiceKind,
  rest: string[],
  { scope = "system", known = {}, env = {} }: Around = {},
) {
  return serviceSettings(kind, rest, { scope, known, around: surroundings(env) });
}

describe("The flags of a service", () => {
  test("are those that its command will read, in the form that it takes whatever the value is", () => {
    const { args } = settings("serve", [
      "--tls",
      "--domain",
      "a.example",
      "--domain",
      "b.example",
      "--no-http2",
      "--hsts=yes",
      "--max-body",
      "1MiB",
    ]);
    expect(args).toEqual([
      "--tls",
      "--domain=a.example,b.example",
      "--no-http2",
      "--hsts=yes",
      "--max-body=1MiB",
    ]);
  });

  test("have no secret among them, however that was given", () => {
    using dir = new TempDir();
    const file = dir.write("secret", "from a file\n");
    const { args, secrets, notes } = settings("serve", [
      "--admin-token",
      "shown",
      "--worker-secret-file",
      file,
      "--database-url=postgres://u:p@db/x",
    ]);
    expect(args).toEqual([]);
    expect(secrets).toEqual([
      { variable: "MODELRELAY_ADMIN_TOKEN", fileFlag: "--admin-token-file", value: "shown" },
      { variable: "WORKER_SECRET", fileFlag: "--worker-secret-file", value: "from a file" },
      { variable: "DATABASE_URL", fileFlag: "--database-url-file", value: "postgres://u:p@db/x" },
    ]);
    expect(notes).toEqual([
      `The secret in ${file} was copied for the service; a change there is not noticed`,
    ]);
  });

  test("have paths that do not depend on where they were typed", () => {
    const { args } = settings("serve", ["--data-dir", "data"], { scope: "user" });
    expect(args).toEqual([`--data-dir=${process.cwd()}/data`]);
  });

  test("are refused where the command would refuse them", () => {
    expect(mistake(() => settings("serve", ["--lisen", ":80"])).message).toBe(
      'Cannot use flag --lisen: "modelrelay serve" has no such flag',
    );
    expect(mistake(() => settings("serve", ["--tls"])).message).toBe(
      "Cannot use --tls without --domain: a certificate is for a name",
    );
    expect(
      mistake(() => settings("worker", ["--worker-secret", "s", "--models", "a,,b"])).message,
    ).toStartWith('Cannot use "a,,b" as models (flag --models): expected');
  });

  test("cannot begin a line of their own in the definition of a service", () => {
    for (const flag of ["--data-dir", "--config"]) {
      const given = [flag, "/srv/x\nExecStartPre=/bin/y"];
      expect(mistake(() => settings("serve", given)).message).toBe(
        `Cannot use "/srv/x\\nExecStartPre=/bin/y" (flag ${flag}) for a service: it has a control character in it`,
      );
    }
  });

  test("cannot give the service a directory that others have something in", () => {
    const refused = mistake(() => refuseForeignFolder("/srv", ["www", "ftp"]));
    expect(refused).toEqual({
      message: 'Cannot give the service "/srv" for its data: there are files in it that are no relay\'s',
      action: 'Name a directory of its own, such as "/srv/modelrelay"',
    });
    for (const names of [[], ["lost+found"], ["admin-token", "notes"], ["modelrelay.db"]])
      expect(() => refuseForeignFolder("/srv/relay", names)).not.toThrow();
  });

  test("cannot name places that a service of the system does not see", () => {
    for (const place of ["/home/ada/relay", "/root/x", "/tmp/x", "/run/user/1/x"]) {
      expect(mistake(() => settings("serve", ["--data-dir", place])).message).toBe(
        `Cannot use "${place}" (flag --data-dir) for a service of the system: it sees nothing there`,
      );
    }
    const known = { MODELRELAY_DATA_DIR: "/home/ada/relay" };
    expect(mistake(() => settings("serve", [], { known })).message).toBe(
      'Cannot use "/home/ada/relay" (environment variable MODELRELAY_DATA_DIR) for a service of the system: it sees nothing there',
    );
    expect(settings("serve", ["--data-dir", "/home/ada/relay"], { scope: "user" }).dataDir).toBe(
      "/home/ada/relay",
    );
    expect(settings("serve", ["--data-dir", "/srv/relay"]).dataDir).toBe("/srv/relay");
    expect(settings("serve", []).dataDir).toBeUndefined();
  });

  test("have a worker look once no more than a service can", () => {
    expect(mistake(() => settings("worker", ["--check", "--worker-secret", "s"])).message).toBe(
      "Cannot use --check for a service: it ends after one look",
    );
  });

  test("need the relay's secret for a worker, unless its environment file has it", () => {
    expect(mistake(() => settings("worker", [])).message).toBe(
      "Cannot install a worker without the relay's secret: worker-secret is not set",
    );
    expect(settings("worker", [], { known: { WORKER_SECRET: "kept" } }).secrets).toEqual([]);
  });

  test("do not come from the shell, which is said", () => {
    const { secrets, notes } = settings("worker", ["--worker-secret", "s"], {
      env: { WORKER_SECRET: "other", PROXY_URL: "https://relay.example.com", UNRELATED: "x" },
    });
    expect(secrets.map(({ value }) => value)).toEqual(["s"]);
    expect(notes).toEqual([
      "PROXY_URL of this shell is no setting of the service: give --proxy-url after -- if it shall be",
    ]);
  });
});
