// Frames of HTTP/2 as values, so that a fuzzer may change them before they are bytes.

import type { Chance } from "../support/chance.ts";
import { frame } from "../support/h2-raw.ts";

/** A frame that may lie about its length. */
export type MadeFrame = {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
  readonly length?: number;
};

export const FRAME_EDITS = [
  ...["drop", "double", "swap", "stream", "flags", "length", "type", "cut", "byte", "insert"],
] as const;

export type FrameEdit = (typeof FRAME_EDITS)[number];

/** Changes one of the frames; `noise` is one that may come in between. */
export function editFrames(
  frames: MadeFrame[],
  edit: FrameEdit,
  { chance, noise }: { chance: Chance; noise: MadeFrame },
): void {
  if (frames.length === 0) return;
  const at = chance.below(frames.length);
  const own = frames[at];
  const { payload } = own;
  switch (edit) {
    case "drop":
      return void frames.splice(at, 1);
    case "double":
      return void frames.splice(at, 0, own);
    case "swap": {
      const to = chance.below(frames.length);
      [frames[at], frames[to]] = [frames[to], own];
      return;
    }
    case "stream":
      frames[at] = { ...own, stream: chance.pick([0, 1, 2, 3, 5, 7, 2 ** 31 - 1, 2 ** 31 + 1]) };
      return;
    case "flags":
      frames[at] = { ...own, flags: own.flags ^ (1 << chance.below(8)) };
      return;
    case "length": {
      const near = Math.max(0, payload.length + chance.between(-2, 2));
      frames[at] = { ...own, length: chance.pick([0, near, near, 16_384, 16_385, 2 ** 24 - 1]) };
      return;
    }
    case "type":
      frames[at] = { ...own, type: chance.below(12) };
      return;
    case "cut":
      frames[at] = { ...own, payload: payload.subarray(0, chance.below(payload.length + 1)) };
      return;
    case "byte":
      frames[at] = { ...own, payload: withByte(payload, chance) };
      return;
    default:
      frames.splice(at, 0, noise);
  }
}

export function control(type: number, stream: number, payload: Buffer): MadeFrame {
  return { type, flags: 0, stream, payload };
}

function withByte(payload: Buffer, chance: Chance): Buffer {
  const changed = Buffer.from(payload);
  if (changed.length > 0) changed[chance.below(changed.length)] = chance.below(256);
  return changed;
}

export function bytesOf({ type, length, ...rest }: MadeFrame): Buffer {
  const bytes = frame(type, rest);
  if (length !== undefined) bytes.writeUIntBE(length, 0, 3);
  return bytes;
}
