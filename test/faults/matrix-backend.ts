import { startFakeBackend, type Exchange } from "../support/fake-backend.ts";

// A backend in a process of its own: its owner answers each request by messages (`ToBackend`).

/** What the owner tells the backend to do with a request. */
export type ToBackend =
  | { id: number; act: "head"; status: number; headers: Record<string, string> }
  | { id: number; act: "write"; data: string }
  | { id: number; act: "end" };

/** What the backend tells its owner. */
export type FromBackend =
  | { kind: "listening"; url: string }
  | { kind: "asked"; id: number; body: string }
  | { kind: "closed"; id: number };

const backend = await startFakeBackend(["m"]);
const exchanges: Exchange[] = [];

function tell(message: FromBackend): void {
  process.send?.(message);
}

process.on("message", (message: ToBackend) => {
  const exchange = exchanges[message.id];
  if (message.act === "head") exchange?.head(message.status, message.headers);
  else if (message.act === "write") exchange?.write(message.data);
  else exchange?.end();
});
// Without its owner nobody would end it.
process.on("disconnect", () => process.exit(0));

tell({ kind: "listening", url: backend.url });
for (;;) {
  const exchange = await backend.next();
  const id = exchanges.push(exchange) - 1;
  tell({ kind: "asked", id, body: exchange.body.toString() });
  void exchange.closed.then(() => tell({ kind: "closed", id }));
}
