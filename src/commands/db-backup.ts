import { formatBytes } from "../base/bytes.ts";
import { UsageError } from "../base/errors.ts";
import { commandNode, type Command } from "./command.ts";
import { databaseOptions, inspectStore } from "./db-shared.ts";
import { defineOptions } from "./options.ts";
import { path } from "./value-kinds.ts";

const backupOptions = defineOptions({
  file: {
    operand: true,
    hint: "FILE",
    inFile: false,
    help: "Where to write the copy; nothing may be there yet",
    schema: path,
  },
  ...databaseOptions,
});

export const backupCommand: Command<typeof backupOptions> = {
  name: "db backup",
  summary: "Copies the database of keys and usage, while the relay runs",
  examples: [
    {
      line: "modelrelay db backup /var/backups/modelrelay-$(date +%F).db",
      does: "A whole copy in one file, for this user alone to read",
    },
  ],
  options: backupOptions,
  file: "serve",
  async run({ file, ...config }, { terminal }) {
    if (file === undefined) {
      throw new UsageError("Cannot make a backup: FILE is missing", {
        action: "Write: modelrelay db backup FILE",
      });
    }
    await using store = await inspectStore(config);
    const { bytes } = await store.backup(file);
    await terminal.out(`${file}: ${formatBytes(bytes)}\n`);
    return 0;
  },
};

export const backupNode = commandNode(backupCommand);
