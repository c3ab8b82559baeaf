import { writeLines } from "./base/status-line.ts";
import { main } from "./commands/main.ts";

process.exitCode = await main(process.argv.slice(2), {
  env: process.env,
  // Waits until the text is on its way: a pipe would lose what `exit` finds still buffered.
  out: (text) => new Promise((resolve) => process.stdout.write(text, () => resolve())),
  err: writeLines,
});
// Nothing that a command left open may keep the process once its work is done.
process.exit();
