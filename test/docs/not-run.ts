/** Programs that a page names and the tests do not run, and why. Their lines are still read by a shell. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  npm: "builds all of this, or runs all of its tests; the checks themselves go that way",
  systemctl: "no systemd runs in a test",
  certbot: "asks Let's Encrypt; the tests of proxies run it against Pebble",
  nginx: "would want the certificate that certbot gets; the tests of proxies run it",
  createuser: "wants a PostgreSQL server; the tests of the database start one",
  createdb: "wants a PostgreSQL server; the tests of the database start one",
  setcap: "file capabilities do not exist in memory",
  python: "stands for a program of the reader's own",
  node: "stands for a program of the reader's own",
};

/** Commands of ours that are read by the real parser of settings and go no further, and why. */
export const ONLY_PARSED: Readonly<Record<string, string>> = {
  "PROXY_URL=https://relay.example.com modelrelay worker --worker-secret-file worker-secret --models '*'":
    "the relay that its page has just started has another name",
};
