// JSON text: as a value by JSON.parse, which is twenty times faster than a YAML parser, and besides
// what JSON.parse keeps silent about: keys given twice, and where in the text everything stands.

import { pointerSteps } from "./fault-list.ts";

/** A key that its map has already; offsets count UTF-16 units. */
export type RepeatedKey = { readonly key: string; readonly offset: number };

/** The first thing that keeps a text from being JSON. */
export type JsonTrouble = { readonly offset: number; readonly expected: string };

/** Depth of nesting, and the keys that are given twice; for a text that JSON.parse accepts. */
export function surveyJson(text: string): { depth: number; repeated: readonly RepeatedKey[] } {
  const repeated: RepeatedKey[] = [];
  const open: (Set<string> | null)[] = [];
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) {
      const start = i;
      i = endOfString(text, i) - 1;
      const keys = open[open.length - 1];
      if (keys === null || keys === undefined) continue;
      if (text.charCodeAt(skipSpace(text, i + 1)) !== COLON) continue;
      const key = keyOf(text, start, i + 1);
      if (keys.has(key)) repeated.push({ key, offset: start });
      else keys.add(key);
    } else if (code === OPEN_MAP) {
      depth = Math.max(depth, open.push(new Set()));
    } else if (code === OPEN_LIST) {
      depth = Math.max(depth, open.push(null));
    } else if (code === CLOSE_MAP || code === CLOSE_LIST) {
      open.pop();
    }
  }
  return { depth, repeated };
}

/** Where a key and its value begin; a list's item has no key of its own. */
export type JsonPlace = { readonly key: number; readonly value: number };

/**
 * The places of some JSON pointers in a text that JSON.parse accepts, in one pass. A pointer that
 * leads out of the text gets the place of the last step that exists.
 */
export function locateJson(
  text: string,
  pointers: readonly string[],
): ReadonlyMap<string, JsonPlace> {
  const found = new Map<string, JsonPlace>();
  const root = new Wanted();
  for (const pointer of pointers) root.add(pointerSteps(pointer), pointer);
  new Locator(text, found).visit(root, skipSpace(text, 0), null);
  return found;
}

/** Says where and why a text is not JSON; null when it is. Nesting is not checked. */
export function findJsonTrouble(text: string): JsonTrouble | null {
  const open: number[] = [];
  let i = skipSpace(text, 0);
  let expects: "value" | "key" | "more" = "value";
  for (; i < text.length; i = skipSpace(text, i)) {
    const code = text.charCodeAt(i);
    const inside = open[open.length - 1];
    if (expects === "more") {
      if (inside === undefined) return { offset: i, expected: "the end of the text" };
      if (code === COMMA) {
        i = skipSpace(text, i + 1);
        expects = inside === OPEN_MAP ? "key" : "value";
        continue;
      }
      const close = inside === OPEN_MAP ? CLOSE_MAP : CLOSE_LIST;
      if (code !== close) return { offset: i, expected: `"," or "${String.fromCharCode(close)}"` };
      open.pop();
      i++;
    } else if (expects === "key") {
      const end = code === QUOTE ? endOfString(text, i) : i;
      if (!isJson(text.slice(i, end))) return { offset: i, expected: "a key in double quotes" };
      i = skipSpace(text, end);
      if (text.charCodeAt(i) !== COLON) return { offset: i, expected: `":"` };
      i++;
      expects = "value";
    } else if (code === OPEN_MAP || code === OPEN_LIST) {
      const next = skipSpace(text, i + 1);
      const isEmpty = text.charCodeAt(next) === (code === OPEN_MAP ? CLOSE_MAP : CLOSE_LIST);
      if (!isEmpty) open.push(code);
      expects = isEmpty ? "more" : code === OPEN_MAP ? "key" : "value";
      i = isEmpty ? next + 1 : next;
    } else {
      const end = code === QUOTE ? endOfString(text, i) : endOfWord(text, i);
      if (!isJson(text.slice(i, end))) return { offset: i, expected: "a value" };
      i = end;
      expects = "more";
    }
  }
  if (expects === "more" && open.length === 0) return null;
  return { offset: text.length, expected: open.length === 0 ? "a value" : "more: it ends early" };
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const COMMA = 0x2c;
const OPEN_MAP = 0x7b;
const CLOSE_MAP = 0x7d;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;

/** The pointers that are looked for, as a tree. */
class Wanted {
  readonly children = new Map<string, Wanted>();
  pointers: string[] = [];

  add(steps: readonly string[], pointer: string): void {
    const [step, ...rest] = steps;
    if (step === undefined) {
      this.pointers.push(pointer);
      return;
    }
    let child = this.children.get(step);
    if (child === undefined) this.children.set(step, (child = new Wanted()));
    child.add(rest, pointer);
  }
}

class Locator {
  readonly #text: string;
  readonly #found: Map<string, JsonPlace>;

  constructor(text: string, found: Map<string, JsonPlace>) {
    this.#text = text;
    this.#found = found;
  }

  /** Visits the value at `at`; returns the offset behind it. */
  visit(wanted: Wanted | undefined, at: number, keyAt: number | null): number {
    if (wanted === undefined) return this.#skip(at);
    this.#note(wanted, { key: keyAt ?? at, value: at });
    const code = this.#text.charCodeAt(at);
    if (code !== OPEN_MAP && code !== OPEN_LIST) return this.#skip(at);
    const isMap = code === OPEN_MAP;
    let i = skipSpace(this.#text, at + 1);
    for (let index = 0; !isClose(this.#text.charCodeAt(i)); index++) {
      const start = i;
      let step = String(index);
      if (isMap) {
        const end = endOfString(this.#text, i);
        step = keyOf(this.#text, i, end);
        i = skipSpace(this.#text, skipSpace(this.#text, end) + 1);
      }
      i = this.visit(wanted.children.get(step), i, isMap ? start : null);
      i = skipSpace(this.#text, i);
      if (this.#text.charCodeAt(i) === COMMA) i = skipSpace(this.#text, i + 1);
    }
    return i + 1;
  }

  // Also for all that is below: what is there says better where it is, and comes later.
  #note(wanted: Wanted, place: JsonPlace): void {
    for (const pointer of wanted.pointers) this.#found.set(pointer, place);
    for (const child of wanted.children.values()) {
      this.#note(child, { key: place.key, value: place.key });
    }
  }

  #skip(at: number): number {
    const text = this.#text;
    let depth = 0;
    for (let i = at; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code === QUOTE) {
        i = endOfString(text, i) - 1;
      } else if (code === OPEN_MAP || code === OPEN_LIST) {
        depth++;
        continue;
      } else if (isClose(code)) {
        depth--;
      } else {
        if (depth > 0) continue;
        return endOfWord(text, i);
      }
      if (depth === 0) return i + 1;
    }
    return text.length;
  }
}

// The offset behind the closing quote, or the end of the text.
function endOfString(text: string, quote: number): number {
  for (let i = quote + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === QUOTE) return i + 1;
    if (code === BACKSLASH) i++;
  }
  return text.length;
}

function endOfWord(text: string, start: number): number {
  let i = start;
  while (i < text.length && /[A-Za-z0-9+.-]/.test(text[i])) i++;
  return i;
}

function keyOf(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end - 1);
  return raw.includes("\\") ? (JSON.parse(`"${raw}"`) as string) : raw;
}

function skipSpace(text: string, start: number): number {
  let i = start;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break;
  }
  return i;
}

function isClose(code: number): boolean {
  return code === CLOSE_MAP || code === CLOSE_LIST;
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
