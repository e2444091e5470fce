// The text of a configuration, YAML 1.2 or JSON, as a plain value, and the place in the text of
// everything in it. Hostile text costs bounded time and memory; places are looked up only for what
// is wrong.

import { LIMITS } from "../base/limits.ts";
import type { Fault } from "./fault.ts";
import { withoutPlace } from "./fault-list.ts";
import type { PlacedFault } from "./fault-list.ts";
import { findJsonTrouble, locateJson, surveyJson } from "./json-text.ts";
import { readYaml } from "./yaml-text.ts";

/** Levels of maps and lists in a configuration. */
export const DEPTH_MAX = 64;
const REPEATED_MAX = 100;
// A YAML parser needs about 0.6 s and 100 times the text's size for each MiB; JSON a fraction.
const YAML_BYTES_MAX = 16 * 1024 * 1024;
// Up to this size a text that begins like JSON, but is not, may still be YAML's own braces.
const FLOW_CHARS_MAX = 1024 * 1024;
// YAML's own seldom quotes its keys: what is neither is taken for JSON that is broken.
const JSON_START = /^\uFEFF?\s*\{\s*"/;

/** A parsed text. */
export type ConfigDocument = {
  readonly value: unknown;
  /** The faults with their lines and columns, in the order of the text. */
  place(faults: readonly PlacedFault[]): Fault[];
};

type Trouble = { readonly code: string; readonly message: string; readonly offset: number };

/** Parses a text, or says everything that is wrong with its syntax. */
export function readDocument(text: string): ConfigDocument | readonly Fault[] {
  const { configBytesMax } = LIMITS;
  if (text.length > configBytesMax || Buffer.byteLength(text) > configBytesMax) {
    return [{ code: "too_large", message: `the text has over ${configBytesMax} bytes`, path: "" }];
  }
  const refused = findForeignCharacter(text);
  if (refused !== null) return troubled(text, [refused]);
  if (/^\uFEFF?\s*\{/.test(text)) {
    const document = readJson(text);
    if (document !== null) return document;
  }
  if (text.length > YAML_BYTES_MAX) {
    const message = `YAML is read up to ${YAML_BYTES_MAX} bytes; write a larger one as JSON`;
    return [{ code: "too_large", message, path: "" }];
  }
  const yaml = readYaml(text);
  if (!("value" in yaml)) {
    return troubled(text, JSON_START.test(text) ? [jsonTrouble(text)] : yaml);
  }
  return {
    value: yaml.value,
    place: (faults) => placed(text, faults, ({ path, at }) => yaml.find(path, at)),
  };
}

// Null: not JSON, but it may be YAML.
function readJson(source: string): ConfigDocument | readonly Fault[] | null {
  // A mark of byte order is no part of JSON; a space keeps the offsets.
  const text = source.startsWith("\uFEFF") ? ` ${source.slice(1)}` : source;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    if (text.length <= FLOW_CHARS_MAX) return null;
    return troubled(text, [jsonTrouble(text)]);
  }
  const { depth, repeated } = surveyJson(text);
  if (depth > DEPTH_MAX) {
    const message = `nested deeper than ${DEPTH_MAX} levels`;
    return troubled(text, [{ code: "syntax", message, offset: 0 }]);
  }
  if (repeated.length > 0) {
    const troubles = repeated.slice(0, REPEATED_MAX).map(({ key, offset }) => ({
      code: "duplicate",
      message: `the key ${JSON.stringify(key)} is given twice`,
      offset,
    }));
    return troubled(text, troubles);
  }
  return {
    value,
    place: (faults) => {
      const places = locateJson(
        text,
        faults.map(({ path }) => path),
      );
      return placed(text, faults, ({ path, at }) => places.get(path)?.[at] ?? 0);
    },
  };
}

function jsonTrouble(text: string): Trouble {
  const { offset, expected } = findJsonTrouble(text.replace(/^\uFEFF/, " ")) ?? {
    offset: 0,
    expected: "JSON",
  };
  return { code: "syntax", message: `expected ${expected} here`, offset };
}

// What no text editor writes: control characters, the mark left by bytes that are not UTF-8.
function findForeignCharacter(text: string): Trouble | null {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  const offset = text.search(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]/);
  if (offset === -1) return null;
  const code = text.charCodeAt(offset);
  const message =
    code === 0xfffd
      ? "the text is not UTF-8"
      : `a control character (code ${code}) cannot be in the text`;
  return { code: "syntax", message, offset };
}

function troubled(text: string, troubles: readonly Trouble[]): Fault[] {
  const places = new Places(text);
  return troubles.map(({ offset, ...fault }) => ({ ...fault, path: "", ...places.at(offset) }));
}

function placed(
  text: string,
  faults: readonly PlacedFault[],
  offsetOf: (fault: PlacedFault) => number,
): Fault[] {
  const places = new Places(text);
  const found = faults.map((fault) => {
    return { ...withoutPlace(fault), ...places.at(offsetOf(fault)) };
  });
  return found.sort((a, b) => a.line - b.line || a.column - b.column);
}

/** Lines and columns, from 1, of offsets in UTF-16 units. */
class Places {
  readonly #starts: number[] = [0];

  constructor(text: string) {
    for (let i = text.indexOf("\n"); i !== -1; i = text.indexOf("\n", i + 1)) {
      this.#starts.push(i + 1);
    }
  }

  at(offset: number): { line: number; column: number } {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#starts[middle] <= offset) low = middle;
      else high = middle;
    }
    return { line: low + 1, column: offset - this.#starts[low] + 1 };
  }
}
