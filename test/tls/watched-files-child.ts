import { silentLog } from "../../src/base/log.ts";
import { systemClock } from "../../src/base/clock.ts";
import { Problem } from "../../src/base/errors.ts";
import { watchFiles } from "../../src/tls/watched-files.ts";

/** Prints why the files, certificate and key, cannot be used by the user that runs this. */
const [certFile = "", keyFile = ""] = process.argv.slice(2);
try {
  const files = await watchFiles({
    certFile,
    keyFile,
    clock: systemClock,
    log: silentLog,
    onChange() {},
  });
  files.close();
  process.stdout.write("accepted");
} catch (error) {
  process.stdout.write(error instanceof Problem ? `${error.message} → ${error.action}` : String(error));
}
