/** As a release is called: `0.2.0`, `1.0.0-rc.1`. */
const VERSION = /^v?(\d{1,9}\.\d{1,9}\.\d{1,9}(?:-[0-9A-Za-z.-]{1,60})?(?:\+[0-9A-Za-z.-]{1,60})?)$/;

/** The version without a leading v, or `undefined` if the text is none. */
export function parseVersion(text: string): string | undefined {
  return VERSION.exec(text.trim())?.[1];
}

/** Above 0 if the first is newer, below 0 if it is older, by the rules of semver.org 2.0. */
export function compareVersions(first: string, second: string): number {
  return Bun.semver.order(first, second);
}
