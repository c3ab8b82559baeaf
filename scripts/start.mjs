// npm start: installs, builds dist/modelrelay and runs `modelrelay demo` with the arguments given.

import { join } from "node:path";
import { bootstrap, foreground, main, root } from "./bootstrap.mjs";

await main(async () => {
  const bun = bootstrap();
  // Always built: it takes a second, and an executable older than its sources would mislead.
  const built = await foreground(bun, [join(root, "scripts/build.ts")], {
    cwd: root,
    stdio: ["ignore", 2, 2],
  });
  if (built !== 0) return built;
  const executable = join(root, "dist", process.platform === "win32" ? "modelrelay.exe" : "modelrelay");
  return foreground(executable, ["demo", ...process.argv.slice(2)]);
});
