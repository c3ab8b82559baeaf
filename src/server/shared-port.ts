import { CAN_HAND_OVER, type Place } from "./heritage.ts";
import { listen, type Listener, type ListenerHandlers, type ListenOptions } from "./listener.ts";
import { steerToNewest } from "./port-steering.ts";

/**
 * Opens a plain port that another process of this user can take over.
 *
 * @throws {Problem} if the address cannot be had
 */
export function listenForSuccession(
  { address, isTakenOver }: Place,
  sendLimit: number,
  handlers: ListenerHandlers,
  options: ListenOptions = {},
): Listener {
  if (!CAN_HAND_OVER) return listen(address, sendLimit, handlers, options);
  // A socket that shares its port does so with strangers too; one that does not finds them.
  if (address.port !== 0 && !isTakenOver) void listen(address, sendLimit, handlers, options).stop();
  const listener = listen(address, sendLimit, handlers, { ...options, shared: true });
  steerToNewest(listener.port);
  return listener;
}
