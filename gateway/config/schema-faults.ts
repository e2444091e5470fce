// Every difference between a value and a schema, each as one fault that a person can act on. Walks
// the part of JSON Schema that schema.ts uses; anything else in a schema is a programmer's error.

import type { Fault } from "./fault.ts";
import { nearest } from "./nearest.ts";

/** A fault before its place in the text is known; `at` says which part of the place is meant. */
export type PlacedFault = Fault & { readonly at: "key" | "value" };

/** The keywords of JSON Schema that are understood here. */
export type SchemaNode = {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly patternProperties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly description?: string;
  readonly secret?: boolean;
};

const SHOWN_CHARS_MAX = 60;

/** All faults of `value`, whose place in the document is the JSON pointer `path`. */
export function schemaFaults(schema: unknown, value: unknown, path: string): PlacedFault[] {
  const faults: PlacedFault[] = [];
  walk(schema as SchemaNode, value, path, faults);
  return faults;
}

/** A JSON pointer one step longer (RFC 6901). */
export function pointer(path: string, key: string | number): string {
  return `${path}/${String(key).replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** A value as shown in a fault: short, on one line. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === "object" && value !== null) return "a map";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length <= SHOWN_CHARS_MAX ? text : `${text.slice(0, SHOWN_CHARS_MAX)}...`;
}

function walk(schema: SchemaNode, value: unknown, path: string, faults: PlacedFault[]): void {
  if (schema.anyOf !== undefined) walkUnion(schema.anyOf, value, path, faults);
  else if (schema.enum !== undefined) walkEnum(schema.enum, value, path, faults);
  else if (schema.type === "object") walkObject(schema, value, path, faults);
  else if (schema.type === "array") walkArray(schema, value, path, faults);
  else if (schema.type !== undefined) walkScalar(schema, value, path, faults);
}

function walkObject(schema: SchemaNode, value: unknown, path: string, faults: PlacedFault[]): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    faults.push(wrongType(path, value, "a map"));
    return;
  }
  const record = value as Readonly<Record<string, unknown>>;
  const properties = schema.properties ?? {};
  const patterns = Object.entries(schema.patternProperties ?? {});
  for (const key of Object.keys(record)) {
    const child = pointer(path, key);
    if (Object.hasOwn(properties, key)) {
      walk(properties[key], record[key], child, faults);
      continue;
    }
    const matching = patterns.find(([pattern]) => new RegExp(pattern).test(key));
    if (matching !== undefined) walk(matching[1], record[key], child, faults);
    else if (patterns.length > 0) faults.push(badKey(child, key, patterns[0][0]));
    else faults.push(unknownKey(child, key, Object.keys(properties)));
  }
  for (const key of schema.required ?? []) {
    if (Object.hasOwn(record, key)) continue;
    faults.push({
      code: "missing_key",
      message: `the key ${key} is missing`,
      path,
      found: show(value),
      allowed: `${key}: ${describe(properties[key] ?? {})}`,
      at: "value",
    });
  }
}

function walkArray(schema: SchemaNode, value: unknown, path: string, faults: PlacedFault[]): void {
  if (!Array.isArray(value)) {
    faults.push(wrongType(path, value, "a list"));
    return;
  }
  const { items, minItems = 0, maxItems = Infinity } = schema;
  if (value.length < minItems || value.length > maxItems) {
    faults.push({
      code: "out_of_range",
      message: `the list has ${value.length} entries`,
      path,
      found: `${value.length} entries`,
      allowed: maxItems === Infinity ? `at least ${minItems}` : `${minItems} to ${maxItems}`,
      at: "value",
    });
    return;
  }
  if (items === undefined) return;
  for (let i = 0; i < value.length; i++) walk(items, value[i], pointer(path, i), faults);
}

function walkScalar(schema: SchemaNode, value: unknown, path: string, faults: PlacedFault[]): void {
  const isRight =
    schema.type === "integer" || schema.type === "number"
      ? typeof value === "number"
      : typeof value === schema.type;
  if (!isRight) {
    faults.push(wrongType(path, value, describe(schema)));
  } else if (schema.const !== undefined && schema.const !== value) {
    faults.push(outOfRange(path, value, describe(schema)));
  } else if (typeof value === "number" && !fitsNumber(schema, value)) {
    faults.push(outOfRange(path, value, describe(schema)));
  } else if (typeof value === "string" && !fitsString(schema, value)) {
    faults.push(outOfRange(path, value, describe(schema)));
  }
}

function fitsNumber(schema: SchemaNode, value: number): boolean {
  if (schema.type === "integer" && !Number.isSafeInteger(value)) return false;
  return value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity);
}

function fitsString(schema: SchemaNode, value: string): boolean {
  if (value.length < (schema.minLength ?? 0)) return false;
  if (value.length > (schema.maxLength ?? Infinity)) return false;
  return schema.pattern === undefined || new RegExp(schema.pattern).test(value);
}

function walkEnum(
  allowed: readonly unknown[],
  value: unknown,
  path: string,
  faults: PlacedFault[],
): void {
  if (allowed.includes(value)) return;
  const words = allowed.map(String);
  faults.push({
    code: "out_of_range",
    message: `${show(value)} is not allowed here`,
    path,
    found: show(value),
    allowed: words.join(", "),
    suggestion: typeof value === "string" ? nearest(value, words) : undefined,
    at: "value",
  });
}

// One fault for a value that fits no branch, not one for each branch.
function walkUnion(
  branches: readonly SchemaNode[],
  value: unknown,
  path: string,
  faults: PlacedFault[],
): void {
  if (branches.some((branch) => schemaFaults(branch, value, path).length === 0)) return;
  const objects = branches.filter((branch) => branch.type === "object");
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
  if (objects.length === 0 || !isMap) {
    const sameType = branches.find((branch) => schemaTypeOf(value) === branch.type);
    const allowed = branches.map(describe).join(", or ");
    faults.push(
      sameType === undefined ? wrongType(path, value, allowed) : outOfRange(path, value, allowed),
    );
    return;
  }
  walkObjectUnion(objects, value as Readonly<Record<string, unknown>>, path, faults);
}

// Branches that are told apart by their required keys.
function walkObjectUnion(
  branches: readonly SchemaNode[],
  value: Readonly<Record<string, unknown>>,
  path: string,
  faults: PlacedFault[],
): void {
  const chosen = branches.filter((branch) =>
    (branch.required ?? []).every((key) => Object.hasOwn(value, key)),
  );
  if (chosen.length === 1) {
    walk(chosen[0], value, path, faults);
    return;
  }
  const keys = [...new Set(branches.flatMap((branch) => branch.required ?? []))];
  const unknown = Object.keys(value).filter((key) => !keys.includes(key));
  if (chosen.length === 0 && unknown.length > 0) {
    for (const key of unknown) faults.push(unknownKey(pointer(path, key), key, keys));
    return;
  }
  faults.push({
    code: chosen.length === 0 ? "missing_key" : "conflict",
    message: `exactly one of ${keys.join(", ")} is needed`,
    path,
    found: Object.keys(value).join(", ") || "nothing",
    allowed: `one of ${keys.join(", ")}`,
    at: "value",
  });
}

function schemaTypeOf(value: unknown): string {
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return Array.isArray(value) ? "array" : typeof value;
}

function unknownKey(path: string, key: string, known: readonly string[]): PlacedFault {
  return {
    code: "unknown_key",
    message: `the key ${show(key)} is not known here`,
    path,
    found: key,
    allowed: known.join(", "),
    suggestion: nearest(key, known),
    at: "key",
  };
}

function badKey(path: string, key: string, pattern: string): PlacedFault {
  return {
    code: "out_of_range",
    message: `${show(key)} cannot be a key here`,
    path,
    found: key,
    allowed: `a key like ${pattern}`,
    at: "key",
  };
}

function wrongType(path: string, value: unknown, allowed: string): PlacedFault {
  const found = show(value);
  return {
    code: "wrong_type",
    message: `found ${found} where ${allowed} belongs`,
    path,
    found,
    allowed,
    at: "value",
  };
}

function outOfRange(path: string, value: unknown, allowed: string): PlacedFault {
  const found = show(value);
  return {
    code: "out_of_range",
    message: `${found} is not ${allowed}`,
    path,
    found,
    allowed,
    at: "value",
  };
}

function describe(schema: SchemaNode): string {
  if (schema.anyOf !== undefined) return schema.anyOf.map(describe).join(", or ");
  if (schema.enum !== undefined) return `one of ${schema.enum.join(", ")}`;
  if (schema.const !== undefined) return show(schema.const);
  switch (schema.type) {
    case "object":
      return "a map";
    case "array":
      return "a list";
    case "boolean":
      return "true or false";
    case "integer":
    case "number":
      return describeNumber(schema);
    default:
      return describeString(schema);
  }
}

function describeNumber({ type, minimum, maximum }: SchemaNode): string {
  const what = type === "integer" ? "a whole number" : "a number";
  if (minimum !== undefined && maximum !== undefined) return `${what} from ${minimum} to ${maximum}`;
  return minimum === undefined ? what : `${what} of at least ${minimum}`;
}

function describeString({ description, pattern, minLength, maxLength }: SchemaNode): string {
  if (description !== undefined) return `text (${description})`;
  if (pattern !== undefined) return `text like ${pattern}`;
  if (maxLength !== undefined) return `text of ${minLength ?? 0} to ${maxLength} characters`;
  return minLength === undefined ? "text" : "text that is not empty";
}
