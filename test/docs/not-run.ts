/** Programs that a page names and the tests do not run, and why. Their lines are still read by a shell. */
export const NOT_RUN: Readonly<Record<string, string>> = {
  npm: "builds all of this, or runs all of its tests; the checks themselves go that way",
  systemctl: "no systemd runs in a test",
  certbot: "asks Let's Encrypt; the tests of proxies run it against Pebble",
  nginx: "would want the certificate that certbot gets; the tests of proxies run it",
  createuser: "wants a PostgreSQL server; the tests of the database start one",
  createdb: "wants a PostgreSQL server; the tests of the database start one",
  setcap: "file capabilities do not exist in memory",
  docker: "no container engine runs in a test; docs/containers.md says where one did",
  kubectl: "no cluster runs in a test; the validators of test/containers read the manifests",
  ollama: "fetches models of gigabytes",
  "llama-server": "is not packaged; the tests run llama.cpp's server as llama-cpp-python has it",
  vllm: "wants a GPU",
  lms: "belongs to a program with windows",
  claude: "too large to install for each test; its page says what was seen",
  litellm: "too large to install for each test; its page says what was seen",
  cn: "too large to install for each test; its page says what was seen",
  aider: "too large to install for each test; its page says what was seen",
  python: "stands for a program of the reader's own",
  node: "stands for a program of the reader's own",
};

/** Commands of ours that are read by the real parser of settings and go no further, and why. */
export const ONLY_PARSED: Readonly<Record<string, string>> = {
  "PROXY_URL=https://relay.example.com modelrelay worker --worker-secret-file worker-secret --models '*'":
    "the relay that its page has just started has another name",
  "modelrelay update --check": "its page's machine has no release to update from; the tests of updates do",
  "modelrelay update": "its page's machine has no release to update from; the tests of updates do",
  "modelrelay service restart serve": "no systemd runs there; the tests of services boot one",
};

/** A line's command without its comment, and without what only says who runs it. */
export function bareCommand(line: string): string {
  return line.replace(/^sudo /, "").replace(/\s+#.*$/, "");
}
