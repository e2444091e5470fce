// Where a guest ended: V8's stack as functions and source lines.

import { sourceFrame } from "../../../plugins-src/compile-fault.ts";
import type { Admitted } from "./admit.ts";
import { SourceMap, isLibrary } from "./source-map.ts";
import type { SourcePlace } from "./source-map.ts";
import { readWasm } from "./wasm-file.ts";

/** One frame, the innermost first. */
export type Frame = {
  readonly function: string;
  /** null: the module has no source map, or its code cannot be traced back. */
  readonly place: SourcePlace | null;
  /** Where the plugin's own source came before a library's code that was inlined into it. */
  readonly near: SourcePlace | null;
};

export type TracedModule = Pick<Admitted, "bytes" | "prepared" | "kept"> & {
  readonly sourceMap: string | null;
};

const FRAMES_MAX = 8;
// Between a fault in Rust and its trap lies a dozen functions of the language.
const PANICKING = /^_?<?(?:std|core|alloc)::|^_*rust_/;

/** Names the frames of a stack as V8 writes it. */
export function traceStack(stack: string, traced: TracedModule): Frame[] {
  const file = readWasm(traced.bytes);
  const map = traced.sourceMap === null ? null : new SourceMap(traced.sourceMap);
  const found = [...stack.matchAll(/(wasm:\/\/\S+):wasm-function\[(\d+)\]:0x([0-9a-f]+)/g)];
  // The outermost frame is the guest's export; functions of the kernel have another address.
  const guest = found.at(-1)?.[1];
  const frames = found
    .filter(([, url]) => url === guest)
    .map(([, , index, hex]) => {
      const from = file.bodies[Number(index) - file.importedFunctions]?.from ?? 0;
      const offset = originalOffset(Number.parseInt(hex, 16), traced);
      const place = offset === null ? null : (map?.at(offset, from) ?? null);
      const isInlined = place !== null && isLibrary(place.file);
      const near = isInlined && offset !== null ? (map?.ownBefore(offset, from) ?? null) : null;
      return { function: file.names.get(Number(index)) ?? `function ${index}`, place, near };
    });
  const own = frames.filter(({ function: name }) => !PANICKING.test(name));
  return (own.length === 0 ? frames : own).slice(0, FRAMES_MAX);
}

/** Frames as lines, with the source of the innermost that is in the plugin's own. */
export function framesText(frames: readonly Frame[]): string[] {
  const lines = frames.map(({ function: name, place, near }) => {
    if (place === null) return `  at ${name}`;
    const inlined = near === null ? "" : `, inlined near ${placeText(near)}`;
    return `  at ${name} (${placeText(place)}${inlined})`;
  });
  const places = frames.flatMap(({ place, near }) => near ?? place ?? []);
  const own = places.find(({ file }) => !isLibrary(file));
  return own === undefined ? lines : [...lines, ...sourceFrame(own)];
}

function placeText({ file, line, column }: SourcePlace): string {
  return `${file}:${line}:${column}`;
}

/**
 * From a place in the code that ran to its place in the module as it was built. What the sandbox has
 * written into the code belongs to what follows it. null where the sandbox does not tell what it kept.
 */
export function originalOffset(
  offset: number,
  { bytes, kept }: Pick<TracedModule, "bytes" | "kept">,
): number | null {
  const run = kept.find(({ to, length }) => offset < to + length);
  const last = kept.at(-1);
  const end = readWasm(bytes).bodies.at(-1)?.end;
  if (run === undefined || last === undefined || end === undefined) return null;
  // The maxima of memory and table are written before the code: all of it moves by as much.
  const shift = last.from + last.length - end;
  return run.from + Math.max(0, offset - run.to) - shift;
}
