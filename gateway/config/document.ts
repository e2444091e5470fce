// The text of a configuration, YAML 1.2 or JSON, as a plain value, and the place in the text of
// everything in it. Hostile text costs bounded time and memory: size, depth and aliases are capped,
// tags and several documents are refused.

import { LineCounter, isMap, isScalar, isSeq, parseDocument } from "yaml";
import type { Document, Node, Pair } from "yaml";
import { LIMITS } from "../base/limits.ts";
import type { Fault } from "./fault.ts";
import type { PlacedFault } from "./schema-faults.ts";

const ALIASES_MAX = 100;
const DEPTH_MAX = 64;
const SYNTAX_FAULTS_MAX = 20;

export type Place = { readonly line: number; readonly column: number };

/** A parsed text. */
export type ConfigDocument = {
  readonly value: unknown;
  /** Where a JSON pointer's key or value stands; undefined for a place that is not in the text. */
  find(pointer: string, at: "key" | "value"): Place | undefined;
};

/** Parses a text, or says everything that is wrong with its syntax. */
export function readDocument(text: string): ConfigDocument | readonly Fault[] {
  const bytes = Buffer.byteLength(text);
  if (bytes > LIMITS.configBytesMax) {
    return [syntax(`the text has ${bytes} bytes; ${LIMITS.configBytesMax} are allowed`, undefined)];
  }
  if (depthOf(text) > DEPTH_MAX) {
    return [syntax(`brackets are nested deeper than ${DEPTH_MAX}`, undefined)];
  }
  const fast = readJson(text);
  if (fast !== undefined) {
    // Only a faulty configuration asks for places.
    let slow: ConfigDocument | null = null;
    return {
      value: fast,
      find: (pointer, at) => {
        if (slow === null) {
          const parsed = readYaml(text);
          if ("value" in parsed) slow = parsed;
        }
        return slow?.find(pointer, at);
      },
    };
  }
  return readYaml(text);
}

/** Puts a fault where it belongs in the text. */
export function placeFault(fault: PlacedFault, document: ConfigDocument | null): Fault {
  const { at, ...plain } = fault;
  const place = document?.find(fault.path, at);
  return place === undefined ? plain : { ...plain, ...place };
}

function readYaml(text: string): ConfigDocument | readonly Fault[] {
  const lines = new LineCounter();
  let document: Document;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      version: "1.2",
      schema: "core",
      uniqueKeys: true,
      prettyErrors: false,
      stringKeys: true,
    });
  } catch (error) {
    return [syntax(error instanceof RangeError ? "nested too deeply" : String(error), undefined)];
  }
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const troubles = [...document.errors, ...document.warnings].slice(0, SYNTAX_FAULTS_MAX);
  if (troubles.length > 0) {
    return troubles.map(({ code, message, pos }) => ({
      ...syntax(message, placeAt(pos[0])),
      code: code === "DUPLICATE_KEY" ? "duplicate" : "syntax",
    }));
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch {
    return [syntax(`aliases stand for more than ${ALIASES_MAX} values`, { line: 1, column: 1 })];
  }
  return { value, find: (pointer, at) => findPlace(document, pointer, at, placeAt) };
}

// JSON.parse is 20 times faster than a YAML parser, but keeps the last of two equal keys in silence:
// a text with any is read the slow way, which refuses it.
function readJson(text: string): unknown {
  if (!text.trimStart().startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return hasDuplicateKey(text) ? undefined : value;
  } catch {
    return undefined;
  }
}

// Over a text that is valid JSON.
function hasDuplicateKey(text: string): boolean {
  const open: (Set<string> | null)[] = [];
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (char === "{") open.push(new Set());
    else if (char === "[") open.push(null);
    else if (char === "}" || char === "]") open.pop();
    else if (char === '"') {
      const start = i;
      for (i++; text[i] !== '"'; i++) if (text[i] === "\\") i++;
      let after = i + 1;
      while (text[after] === " " || text[after] === "\n" || text[after] === "\t" || text[after] === "\r") {
        after++;
      }
      const keys = open.at(-1);
      if (text[after] !== ":" || keys === null || keys === undefined) continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      if (keys.has(key)) return true;
      keys.add(key);
    }
  }
  return false;
}

// Of brackets, whatever they stand in: the parser recurses with them, and runs out of stack.
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5b || code === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x5d || code === 0x7d) depth--;
  }
  return deepest;
}

function findPlace(
  document: Document,
  pointer: string,
  at: "key" | "value",
  placeAt: (offset: number) => Place,
): Place | undefined {
  let node: unknown = document.contents;
  let place = startOf(node);
  const steps = pointer.split("/").slice(1);
  for (const [index, raw] of steps.entries()) {
    const step = raw.replaceAll("~1", "/").replaceAll("~0", "~");
    if (isSeq(node)) {
      node = node.items[Number(step)];
    } else if (isMap(node)) {
      const pair = (node.items as Pair[]).find(({ key }) => keyText(key) === step);
      if (pair === undefined) break;
      node = pair.value;
      if ((index === steps.length - 1 && at === "key") || startOf(node) === undefined) {
        place = startOf(pair.key) ?? place;
        continue;
      }
    } else {
      break;
    }
    place = startOf(node) ?? place;
  }
  return place === undefined ? undefined : placeAt(place);
}

function keyText(key: unknown): string {
  return isScalar(key) ? String(key.value) : String(key);
}

function startOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

function syntax(message: string, place: Place | undefined): Fault {
  return { code: "syntax", message, path: "", ...place };
}
