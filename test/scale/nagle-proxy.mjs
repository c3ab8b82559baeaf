// node nagle-proxy.mjs PORT: a TCP proxy in front of a port on 127.0.0.1 that leaves Nagle's algorithm on, as
// a program does that does not think of it. In Node, since Bun turns it off on every socket. Prints its port.

import { connect, createServer } from "node:net";

const server = createServer((client) => {
  const onward = connect(Number(process.argv[2]), "127.0.0.1");
  for (const [from, to] of [
    [client, onward],
    [onward, client],
  ]) {
    from.setNoDelay(false);
    from.on("data", (data) => to.write(data));
    from.on("close", () => to.destroy());
    from.on("error", () => {});
  }
});
server.listen(0, "127.0.0.1", () => process.stdout.write(String(server.address().port)));
