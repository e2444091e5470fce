// The part of JSON Schema in which a manifest may describe the configuration of its plugin. Whoever
// writes one is not trusted with the time of the primary: what is let through takes no longer to check
// than to read. gateway/config/plugin-schema.ts gives it its meaning.

import { SandboxError } from "./errors.ts";

/** A schema that passed; plugins-src/abi.md says what its keywords mean. */
export type ConfigSchema = Readonly<Record<string, unknown>>;

const DEPTH_MAX = 16;
const NODES_MAX = 2_000;
const PATTERN_CHARS_MAX = 256;
/** Characters that a pattern asks for one by one, in sum. */
const PATTERN_REPEATS_MAX = 1_024;

const TYPES = ["object", "array", "string", "integer", "number", "boolean", "null"];
const SCALARS = TYPES.slice(2);
/** What goes with any type, and what with each. */
const COMMON = ["type", "enum", "const", "default", "title", "description"];
const OF_TYPE: Readonly<Record<string, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties"],
  array: ["items", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "writeOnly"],
  integer: ["minimum", "maximum"],
  number: ["minimum", "maximum"],
};
const KEYWORDS = [...COMMON, ...new Set(Object.values(OF_TYPE).flat())];

type Node = Readonly<Record<string, unknown>>;

/** Checks a schema; throws `bad_config_schema` with a sentence that names the place in it. */
export function checkConfigSchema(schema: unknown): ConfigSchema {
  const walk = new Walk();
  walk.check(schema, "");
  const root = schema as ConfigSchema;
  if (root["type"] !== "object") refuse("", `must have the type "object": a configuration is one`);
  return root;
}

class Walk {
  #nodes = 0;

  check(schema: unknown, path: string, depth = 1): void {
    if (!isRecord(schema)) refuse(path, "must be an object");
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX) refuse(path, `has more than ${NODES_MAX} parts`);
    if (depth > DEPTH_MAX) refuse(path, `is nested deeper than ${DEPTH_MAX} levels`);
    const types = typesOf(schema, path);
    for (const keyword of Object.keys(schema)) checkKeyword(keyword, types, path);
    checkTexts(schema, path);
    checkChoices(schema, types, path);
    checkRange(schema, ["minimum", "maximum"], path);
    for (const what of ["Length", "Items"]) {
      checkRange(schema, [`min${what}`, `max${what}`], path);
    }
    const { pattern, items, additionalProperties: others } = schema;
    if (pattern !== undefined) checkPattern(pattern, path);
    if (items !== undefined) this.check(items, `${path}/items`, depth + 1);
    this.#checkProperties(schema, path, depth);
    if (others !== undefined && typeof others !== "boolean") {
      this.check(others, `${path}/additionalProperties`, depth + 1);
    }
  }

  #checkProperties({ properties = {}, required = [] }: Node, path: string, depth: number): void {
    if (!isRecord(properties)) refuse(`${path}/properties`, "must be an object");
    for (const [name, child] of Object.entries(properties)) {
      if (name === "__proto__") refuse(`${path}/properties`, "cannot have the name __proto__");
      this.check(child, `${path}/properties/${escape(name)}`, depth + 1);
    }
    if (!Array.isArray(required)) refuse(`${path}/required`, "must be a list");
    const names = required as unknown[];
    for (const name of names) {
      if (typeof name === "string" && Object.hasOwn(properties, name)) continue;
      refuse(`${path}/required`, `has ${show(name)}, which is none of the properties`);
    }
    if (new Set(names).size !== names.length) refuse(`${path}/required`, "has a name twice");
  }
}

function typesOf({ type }: Node, path: string): readonly string[] {
  if (type === undefined) return [];
  const types = (Array.isArray(type) ? type : [type]) as unknown[];
  for (const each of types) {
    if (typeof each !== "string" || !TYPES.includes(each)) {
      refuse(path, `has the type ${show(each)}; allowed are ${TYPES.join(", ")}`);
    }
    if (Array.isArray(type) && !SCALARS.includes(each)) {
      refuse(path, `has ${each} in a list of types; only ${SCALARS.join(", ")} go together`);
    }
  }
  if (types.length === 0 || new Set(types).size !== types.length) {
    refuse(path, "has a list of types that is empty or has one twice");
  }
  return types as string[];
}

function checkKeyword(keyword: string, types: readonly string[], path: string): void {
  if (COMMON.includes(keyword)) return;
  if (!KEYWORDS.includes(keyword)) {
    refuse(path, `has the keyword ${show(keyword)}; known are ${KEYWORDS.join(", ")}`);
  }
  if (types.some((type) => OF_TYPE[type]?.includes(keyword))) return;
  const fit = Object.keys(OF_TYPE).filter((type) => OF_TYPE[type].includes(keyword));
  refuse(path, `has ${keyword}, which does nothing without the type ${fit.join(" or ")}`);
}

function checkTexts(schema: Node, path: string): void {
  for (const keyword of ["title", "description"]) {
    const text = schema[keyword];
    if (text !== undefined && typeof text !== "string") refuse(path, `has a ${keyword} not a text`);
  }
  const { writeOnly } = schema;
  if (writeOnly !== undefined && typeof writeOnly !== "boolean") {
    refuse(path, "has a writeOnly that is not true or false");
  }
}

// What is chosen from says all: bounds beside it would do nothing.
function checkChoices(schema: Node, types: readonly string[], path: string): void {
  const keys = ["enum", "const"].filter((key) => Object.hasOwn(schema, key));
  if (keys.length === 0) return;
  if (keys.length === 2) refuse(path, "has both enum and const");
  const strange = Object.keys(schema).find((key) => !COMMON.includes(key));
  if (strange !== undefined) refuse(path, `has ${strange} beside ${keys[0]}`);
  const choices = keys[0] === "enum" ? schema["enum"] : [schema["const"]];
  if (!Array.isArray(choices) || choices.length === 0) refuse(path, "has an enum without a value");
  for (const value of choices as unknown[]) {
    if (typeof value === "object" && value !== null) {
      refuse(
        path,
        `has ${show(value)} in ${keys[0]}; texts, numbers, true, false and null go there`,
      );
    }
    if (types.length === 0 || types.some((type) => isOfType(type, value))) continue;
    refuse(path, `has ${show(value)} in ${keys[0]}, which is no ${types.join(" or ")}`);
  }
}

function checkRange(schema: Node, [low, high]: readonly string[], path: string): void {
  const isCount = low !== "minimum";
  for (const keyword of [low, high]) {
    const bound = schema[keyword];
    if (bound === undefined) continue;
    if (typeof bound === "number" && (!isCount || (Number.isSafeInteger(bound) && bound >= 0))) {
      continue;
    }
    refuse(path, `has the ${keyword} ${show(bound)}; a ${isCount ? "count" : "number"} is needed`);
  }
  const { [low]: from, [high]: to } = schema as Readonly<Record<string, number>>;
  if (from !== undefined && to !== undefined && from > to) {
    refuse(path, `has a ${low} above its ${high}: nothing would fit`);
  }
}

const PIECE =
  /(?:\[\^?(?:[^\\[\]]|\\[dswDSW\\[\]^-])+\]|\\[dswDSW\\^$.*+?()[\]{}|/-]|[^\\^$*+?()[\]{}|])/y;
const REPEAT = /(?:\{(\d{1,4})(?:(,)(\d{0,4}))?\}|([*+?]))/y;

/**
 * One piece after the other, each a character or a class, from `^` to `$`; one of them may vary in
 * how often it comes, and without end only the last. So there is nothing to try again at length.
 */
function checkPattern(pattern: unknown, path: string): void {
  const is = `has the pattern ${show(pattern)},`;
  if (typeof pattern !== "string" || pattern.length > PATTERN_CHARS_MAX) {
    refuse(path, `${is} which is not a text of at most ${PATTERN_CHARS_MAX} characters`);
  }
  if (!pattern.startsWith("^") || !pattern.endsWith("$")) {
    refuse(path, `${is} which does not begin with ^ and end with $`);
  }
  const end = pattern.length - 1;
  let at = 1;
  let varying = 0;
  let repeats = 0;
  while (at < end) {
    const piece = matchAt(PIECE, pattern, at);
    if (piece === null) refuse(path, `${is} which has more than characters, classes and repeats`);
    at += piece[0].length;
    const repeat = matchAt(REPEAT, pattern, at);
    at += repeat?.[0].length ?? 0;
    const { most, varies } = countOf(repeat);
    if (varies) varying += 1;
    if (most === Infinity && at < end)
      refuse(path, `${is} which repeats without end before its end`);
    repeats += most === Infinity ? 1 : most;
  }
  if (varying > 1) refuse(path, `${is} in which more than one repeat varies`);
  if (repeats > PATTERN_REPEATS_MAX) refuse(path, `${is} which repeats too often`);
  if (at !== end || !isRegExp(pattern)) refuse(path, `${is} which is no regular expression`);
}

function countOf(repeat: RegExpExecArray | null): { most: number; varies: boolean } {
  if (repeat === null) return { most: 1, varies: false };
  const [, least, comma, most, sign] = repeat;
  if (sign !== undefined) return { most: sign === "?" ? 1 : Infinity, varies: true };
  if (comma === undefined) return { most: Number(least), varies: false };
  return { most: most === "" ? Infinity : Number(most), varies: true };
}

function matchAt(what: RegExp, text: string, at: number): RegExpExecArray | null {
  what.lastIndex = at;
  return what.exec(text);
}

function isRegExp(pattern: string): boolean {
  try {
    return new RegExp(pattern) instanceof RegExp;
  } catch {
    return false;
  }
}

function isOfType(type: string, value: unknown): boolean {
  if (type === "null") return value === null;
  if (type === "integer") return Number.isSafeInteger(value);
  return typeof value === type;
}

function isRecord(value: unknown): value is Node {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function escape(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function refuse(path: string, what: string): never {
  const place = path === "" ? "" : ` at ${path.length > 200 ? `${path.slice(0, 200)}...` : path}`;
  throw new SandboxError("bad_config_schema", `The manifest's config_schema${place} ${what}.`);
}
