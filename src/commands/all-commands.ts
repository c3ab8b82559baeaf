import type { CommandFacts } from "./command.ts";
import { demoCommand } from "./demo.ts";
import { serveCommand } from "./serve.ts";
import { workerCommand } from "./worker.ts";

/** Every command, in the order of the help and of the reference page. */
export const ALL_COMMANDS: readonly CommandFacts[] = [serveCommand, workerCommand, demoCommand];
