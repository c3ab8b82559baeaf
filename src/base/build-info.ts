import pkg from "../../package.json" with { type: "json" };

declare const MODELRELAY_COMMIT: string | undefined;
declare const MODELRELAY_PLATFORM: string | undefined;

export const version: string = pkg.version;

/** Short commit that the executable was built from; `dev` when run from sources. */
export const commit: string = typeof MODELRELAY_COMMIT === "string" ? MODELRELAY_COMMIT : "dev";

/** What the executable was built for, such as `linux-x64`. */
export const platform: string =
  typeof MODELRELAY_PLATFORM === "string" ? MODELRELAY_PLATFORM : `${process.platform}-${process.arch}`;

/** Whether this is an executable of its own, and no run from sources. */
export const isCompiled: boolean = typeof MODELRELAY_PLATFORM === "string";
