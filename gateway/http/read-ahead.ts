// Looks at the first bytes of an accepted socket before anybody serves it, and puts back what is not
// its own to keep: a PROXY header, or the sign of a client that speaks HTTP/2 at once.

import type { Socket } from "node:net";
import { beginTurn } from "../base/clock.ts";
import { Deadline } from "../base/timer-wheel.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";

/** `rest` is what the next reader gets to see first. */
export type Ahead =
  | { readonly kind: "more" }
  | { readonly kind: "bad" }
  | { readonly kind: "done"; readonly rest: Buffer };

/**
 * Hands what arrives to `judge` until it knows, then calls `onDone`. A socket that is bad, that ends
 * before, or is not done after `withinMs`, is destroyed. The socket must be paused.
 */
export function readAhead(
  socket: Socket,
  judge: (chunk: Buffer) => Ahead,
  { wheel, withinMs, onDone }: { wheel: TimerWheel; withinMs: number; onDone: () => void },
): void {
  const deadline = new Deadline(() => socket.destroy());
  wheel.arm(deadline, beginTurn(), withinMs);
  socket.on("error", () => {});
  socket.once("close", () => wheel.remove(deadline));
  const onEnd = () => socket.destroy();
  socket.once("end", onEnd);
  const look = () => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    const ahead = judge(chunk);
    if (ahead.kind === "more") return;
    socket.off("readable", look);
    socket.off("end", onEnd);
    wheel.remove(deadline);
    if (ahead.kind === "bad") {
      socket.destroy();
      return;
    }
    if (ahead.rest.length > 0) socket.unshift(ahead.rest);
    onDone();
  };
  socket.on("readable", look);
}
