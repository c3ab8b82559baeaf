import { MAX_CONCURRENCY, MAX_MODEL_NAME, MAX_MODELS, MAX_WORKER_NAME } from "../protocol/limits.ts";

/** A model list as accepted, and what was changed, for the worker's operator. */
export interface AcceptedModels {
  models: string[];
  warnings: string[];
}

// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

/**
 * Trims names, drops empty, repeated and malformed ones (the first of a kind stays), and caps the number.
 *
 * @param allowed what the worker may offer at all; `undefined` for everything
 */
export function acceptModels(offered: readonly string[], allowed?: ReadonlySet<string>): AcceptedModels {
  const models = new Set<string>();
  const warnings: string[] = [];
  let empty = 0;
  let repeated = 0;
  let trimmed = 0;
  let malformed = 0;
  let beyond = 0;
  let foreign = 0;
  for (const raw of offered) {
    const name = raw.trim();
    if (name !== raw) trimmed++;
    if (name === "") empty++;
    else if (name.length > MAX_MODEL_NAME || CONTROL.test(name)) malformed++;
    else if (allowed?.has(name) === false) foreign++;
    else if (models.has(name)) repeated++;
    else if (models.size >= MAX_MODELS) beyond++;
    else models.add(name);
  }
  if (trimmed > 0) warnings.push(`trimmed white space around ${count(trimmed, "model name")}`);
  if (empty > 0) warnings.push(`left out ${count(empty, "empty model name")}`);
  if (malformed > 0)
    warnings.push(
      `left out ${count(malformed, "model name")} longer than ${MAX_MODEL_NAME} characters or with control characters`,
    );
  if (repeated > 0) warnings.push(`left out ${count(repeated, "repeated model name")}`);
  if (foreign > 0)
    warnings.push(`left out ${count(foreign, "model")} that this worker secret is not allowed to offer`);
  if (beyond > 0) warnings.push(`left out ${count(beyond, "model")}: a worker may offer ${MAX_MODELS}`);
  return { models: [...models], warnings };
}

/** The number of requests a worker may hold, as accepted. */
export function acceptConcurrency(offered: number, warnings: string[]): number {
  const accepted = Math.min(Math.max(offered, 1), MAX_CONCURRENCY);
  if (accepted !== offered) warnings.push(`changed max_concurrent from ${offered} to ${accepted}`);
  return accepted;
}

/** A worker's name as it is shown: printable and short. */
export function acceptName(offered: string, fallback: string): string {
  const name = offered.replaceAll(new RegExp(CONTROL, "g"), "").trim().slice(0, MAX_WORKER_NAME);
  return name === "" ? fallback : name;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
