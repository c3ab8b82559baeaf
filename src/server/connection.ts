/** What a handler may ask of the connection that a request came on. */
export interface Connection {
  /** The peer's network address, empty if it is already gone. */
  readonly address: string;
  /** Takes the idle timer off this request: answers can be silent for minutes. */
  allowSilence(): void;
  /** Puts it on again, for the last bytes of the answer and for what comes after it on this connection. */
  limitSilence(): void;
  /** Turns the connection into a worker's WebSocket; `ticket` comes back to `socket`, and `protocol` is the subprotocol that was chosen. */
  upgrade(ticket: unknown, protocol?: string): boolean;
}
