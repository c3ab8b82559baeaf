import { dirname } from "node:path";
import { messageOf, Problem } from "../base/errors.ts";
import { findUser, lastLine, type Machine, type User } from "./machine.ts";
import type { Plan, PlannedDirectory, Removal, ServiceId, Supervisor } from "./service.ts";

/** Users from here on are people's (SYS_UID_MAX of login.defs(5) is one less). */
const FIRST_PERSON = 1_000;

/** Told as it happens, for whoever wants to know what was changed. */
export type Tell = (line: string) => void;

/**
 * Does what an installation consists of. What is there already is made as it should be; what fails leaves
 * the steps before it done, for `uninstall` to undo.
 *
 * @throws {Problem} naming what could not be done
 */
export async function install(plan: Plan, machine: Machine, tell: Tell): Promise<void> {
  if (plan.user !== undefined) await ensureUser(plan.user, machine, tell);
  for (const directory of plan.directories) await ensureDirectory(directory, machine, tell);
  for (const { path, content, mode, owner } of plan.files) {
    const user = owner === undefined ? undefined : await ownerOf(path, owner, machine);
    attempt(`write ${path}`, () => machine.write(path, content, mode, user));
    tell(`Wrote ${path}${mode === 0o600 ? " (mode 0600)" : ""}`);
  }
  for (const { command, otherwise } of plan.steps) {
    if (otherwise === undefined) await run(machine, command);
    else if ((await machine.run(command)).code !== 0 && otherwise !== "") tell(otherwise);
  }
}

/**
 * Runs command lines, one after the other.
 *
 * @throws {Problem} with what the first that fails said
 */
export async function runAll(commands: readonly (readonly string[])[], machine: Machine): Promise<void> {
  for (const command of commands) await run(machine, command);
}

async function run(machine: Machine, command: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await machine.run(command);
  if (code === 0) return;
  const said = lastLine(stderr) || lastLine(stdout) || `it ended with exit code ${code}`;
  throw new Problem(`Cannot run ${command.join(" ")}: ${said}`, {
    action: "Put that right and install again; modelrelay service uninstall undoes what was done",
  });
}

function attempt(what: string, act: () => void): void {
  try {
    act();
  } catch (cause) {
    throw new Problem(`Cannot ${what}: ${messageOf(cause)}`, { cause });
  }
}

/** @throws {Problem} if the name is that of a person */
async function ensureUser(
  { name, home, about }: NonNullable<Plan["user"]>,
  machine: Machine,
  tell: Tell,
): Promise<void> {
  const known = await findUser(machine, name);
  if (known !== undefined) {
    if (known.uid >= FIRST_PERSON || known.uid === 0) {
      throw new Problem(
        `Cannot run the service as the user ${name}: there is one already, who is no user of the system (number ${known.uid})`,
        { action: `Rename or remove that user, or add --user to have the service run as you` },
      );
    }
    if (known.about !== about) tell(`The user ${name} was there already, and is used as it is`);
    return;
  }
  const flags = ["--system", "--user-group", "--no-create-home", "--home-dir", home];
  const made = await machine.run([
    "useradd",
    ...flags,
    "--shell",
    "/usr/sbin/nologin",
    "--comment",
    about,
    name,
  ]);
  // Where the tools for users are not installed, systemd may have its own.
  if (made.code === 127)
    await run(machine, ["systemd-sysusers", "--inline", `u ${name} - "${about}" ${home}`]);
  else if (made.code !== 0) {
    throw new Problem(`Cannot make the user ${name}: ${lastLine(made.stderr)}`, {
      action: `Make it by hand (useradd --system ${name}), and install again`,
    });
  }
  tell(`Made the user ${name}, which nobody can log in as`);
}

async function ensureDirectory(
  { path, mode, owner }: PlannedDirectory,
  machine: Machine,
  tell: Tell,
): Promise<void> {
  const wasThere = machine.exists(path);
  const user = owner === undefined ? undefined : await ownerOf(path, owner, machine);
  // The rights of a directory that others use as well are theirs to choose.
  if (wasThere && user === undefined) return;
  attempt(`make the directory ${path}`, () => machine.makeDirectory(path, mode, user));
  if (!wasThere) tell(`Made ${path}`);
}

/** @throws {Problem} if there is no such user */
async function ownerOf(path: string, name: string, machine: Machine): Promise<User> {
  const user = await findUser(machine, name);
  if (user === undefined) throw new Problem(`Cannot give ${path} to the user ${name}: there is none`);
  return user;
}

/** Undoes an installation. @param purge whether its data goes as well */
export async function uninstall(
  id: ServiceId,
  supervisor: Supervisor,
  { machine, purge, tell }: { machine: Machine; purge: boolean; tell: Tell },
): Promise<void> {
  const removal = supervisor.removal(id);
  // One that is gone, or that never ran, cannot be stopped.
  for (const command of removal.before) await machine.run(command);
  for (const path of removal.files) {
    if (!machine.exists(path)) continue;
    attempt(`remove ${path}`, () => machine.remove(path));
    tell(`Removed ${path}`);
  }
  for (const command of removal.after) await machine.run(command);
  await removeData(removal, { machine, purge, tell });
  for (const path of removal.emptied) if (machine.removeEmpty(path)) tell(`Removed ${path}`);
}

async function removeData(
  { data, user }: Removal,
  { machine, purge, tell }: { machine: Machine; purge: boolean; tell: Tell },
): Promise<void> {
  const left = data.filter((path) => machine.exists(path));
  for (const path of left) {
    if (!purge) {
      tell(`Kept ${path}; --purge removes it as well`);
      continue;
    }
    if (dirname(path) === path) throw new Problem(`Cannot remove ${path}: it is the root of the file system`);
    attempt(`remove ${path}`, () => machine.removeTree(path));
    tell(`Removed ${path} with all that was in it`);
  }
  if (user === undefined || (left.length > 0 && !purge)) return;
  const known = await findUser(machine, user.name);
  // One that was there before the service has another comment.
  if (known?.about !== user.about) return;
  const { code, stderr } = await machine.run(["userdel", user.name]);
  tell(
    code === 0
      ? `Removed the user ${user.name}`
      : `The user ${user.name} is left, since it could not be removed: ${lastLine(stderr)}`,
  );
}
