import { Database } from "bun:sqlite";

// A process that takes a database's lock for a while: lock-holder.ts FILE MILLISECONDS

const [file = "", holdMs = "0"] = process.argv.slice(2);
const database = new Database(file, { create: false, readwrite: true });
database.run("PRAGMA busy_timeout = 5000");
database.run("BEGIN EXCLUSIVE");
process.stdout.write("locked\n");
await Bun.sleep(Number(holdMs));
database.run("ROLLBACK");
database.close();
