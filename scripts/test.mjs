// npm test: installs what the tests need as far as this machine allows, and runs every check and test.

import { join } from "node:path";
import { bootstrap, foreground, main, root } from "./bootstrap.mjs";

await main(async () => {
  // The time limit in check.ts covers the installation too.
  process.env.MODELRELAY_CHECK_STARTED ??= String(Date.now());
  const bun = bootstrap();
  // Its exit code is not looked at: a part that cannot be had is reported by the tests that need it.
  await foreground(bun, [join(root, "scripts/parts.ts")], { cwd: root });
  return foreground(bun, [join(root, "scripts/check.ts"), ...process.argv.slice(2)], { cwd: root });
});
