// Every difference between a value and a schema, each as one fault that a person can act on. A
// schema is compiled first: regular expressions once, keys into maps. Understands the part of JSON
// Schema that schema.ts uses. Records are closed: a key that fits no pattern is refused.

import { HIDDEN, pointer, show } from "./fault-list.ts";
import type { FaultList, PlacedFault } from "./fault-list.ts";
import { nearest } from "./nearest.ts";
import { describe } from "./schema-words.ts";

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

/** A compiled schema; `words` says what is allowed. */
export type Compiled =
  | { readonly kind: "any" }
  | {
      readonly kind: "map";
      readonly properties: ReadonlyMap<string, Compiled>;
      readonly required: readonly string[];
      readonly record: { readonly key: RegExp; readonly value: Compiled } | null;
      readonly words: ReadonlyMap<string, string>;
    }
  | { readonly kind: "list"; readonly item: Compiled; readonly schema: SchemaNode }
  | { readonly kind: "union"; readonly branches: readonly Compiled[]; readonly words: string }
  | {
      readonly kind: "scalar";
      readonly schema: SchemaNode;
      readonly pattern: RegExp | null;
      readonly words: string;
    };

type MapNode = Extract<Compiled, { kind: "map" }>;
type ScalarNode = Extract<Compiled, { kind: "scalar" }>;
type Steps = (string | number)[];
type Keyed = Readonly<Record<string, unknown>>;

// Of values that no schema describes, such as the configuration of an uploaded plugin.
const DEPTH_MAX = 64;

/** Compiles a TypeBox or JSON Schema of the understood part. */
export function compileSchema(schema: unknown): Compiled {
  const node = schema as SchemaNode;
  if (node.anyOf !== undefined) {
    return { kind: "union", branches: node.anyOf.map(compileSchema), words: describe(node) };
  }
  if (node.type === "array") return { kind: "list", item: compileSchema(node.items), schema: node };
  if (node.type === "object") return compileMap(node);
  if (node.type === undefined && node.enum === undefined) return { kind: "any" };
  const pattern = node.pattern === undefined ? null : new RegExp(node.pattern);
  return { kind: "scalar", schema: node, pattern, words: describe(node) };
}

function compileMap(node: SchemaNode): Compiled {
  const properties = Object.entries(node.properties ?? {});
  const [record] = Object.entries(node.patternProperties ?? {});
  return {
    kind: "map",
    properties: new Map(properties.map(([key, child]) => [key, compileSchema(child)])),
    required: node.required ?? [],
    record:
      record === undefined
        ? null
        : { key: new RegExp(record[0], "s"), value: compileSchema(record[1]) },
    words: new Map(properties.map(([key, child]) => [key, describe(child)])),
  };
}

/** Adds all faults of `value`, whose place in the document is the JSON pointer `path`. */
export function checkSchema(
  schema: Compiled,
  value: unknown,
  { path, faults }: { readonly path: string; readonly faults: FaultList },
): void {
  new Walk(path, faults).check(schema, value);
}

class Walk {
  readonly #base: string;
  readonly #faults: FaultList;
  readonly #steps: Steps = [];

  constructor(base: string, faults: FaultList) {
    this.#base = base;
    this.#faults = faults;
  }

  check(schema: Compiled, value: unknown): void {
    switch (schema.kind) {
      case "map":
        return this.#checkMap(schema, value);
      case "list":
        return this.#checkList(schema, value);
      case "union":
        return this.#checkUnion(schema, value);
      case "scalar":
        return this.#checkScalar(schema, value);
      default:
        return this.#checkAny(value);
    }
  }

  #path(): string {
    return this.#steps.reduce<string>(pointer, this.#base);
  }

  #add(fault: Omit<PlacedFault, "path" | "at"> & { at?: "key" }): void {
    this.#faults.add({ ...fault, path: this.#path(), at: fault.at ?? "value" });
  }

  #step(key: string | number, schema: Compiled, value: unknown): void {
    this.#steps.push(key);
    this.check(schema, value);
    this.#steps.pop();
  }

  #checkMap(schema: MapNode, value: unknown): void {
    if (!isMap(value)) return this.#wrongType(value, "a map");
    const misspelt = new Set<string>();
    for (const key of Object.keys(value)) {
      if (this.#faults.isFull) return;
      const property = schema.properties.get(key);
      if (property !== undefined) {
        this.#step(key, property, value[key]);
      } else if (schema.record === null) {
        misspelt.add(this.#unknownKey(key, unusedKeys(schema.properties.keys(), value)) ?? "");
      } else if (key !== "__proto__" && schema.record.key.test(key)) {
        this.#step(key, schema.record.value, value[key]);
      } else {
        this.#badKey(key);
      }
    }
    for (const key of schema.required) {
      // A misspelt key is one fault, not one of each kind.
      if (Object.hasOwn(value, key) || misspelt.has(key)) continue;
      this.#add({
        code: "missing_key",
        message: `the key ${key} is missing`,
        found: Object.keys(value).slice(0, 10).join(", ") || "an empty map",
        allowed: `${key}: ${schema.words.get(key)}`,
      });
    }
  }

  #checkList({ item, schema }: Extract<Compiled, { kind: "list" }>, value: unknown): void {
    if (!Array.isArray(value)) return this.#wrongType(value, "a list");
    const { minItems = 0, maxItems = Infinity } = schema;
    if (value.length < minItems || value.length > maxItems) {
      const found = value.length === 1 ? "1 entry" : `${value.length} entries`;
      const range = maxItems === Infinity ? `at least ${minItems}` : `${minItems} to ${maxItems}`;
      const message = `the list has ${found}; ${range} are allowed`;
      return this.#add({ code: "out_of_range", message, found, allowed: `${range} entries` });
    }
    for (let i = 0; i < value.length && !this.#faults.isFull; i++) this.#step(i, item, value[i]);
  }

  #checkScalar(node: ScalarNode, value: unknown): void {
    const { schema, pattern, words } = node;
    if (schema.enum?.includes(value) === true) return;
    if (schema.enum === undefined && fits(schema, pattern, value)) return;
    const choices = schema.enum ?? (schema.const === undefined ? null : [schema.const]);
    const isRightType =
      choices === null
        ? isOfType(schema.type, value)
        : choices.some((c) => typeof c === typeof value);
    if (!isRightType) return this.#wrongType(value, words, schema.secret === true);
    const found = schema.secret === true ? HIDDEN : show(value);
    const suggestion =
      choices !== null && typeof value === "string"
        ? nearest(value, choices.map(String))
        : undefined;
    this.#add({
      code: "out_of_range",
      message: `${found} is not ${words}`,
      found,
      allowed: words,
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  }

  // One fault for a value that fits no branch, not one for each branch.
  #checkUnion({ branches, words }: Extract<Compiled, { kind: "union" }>, value: unknown): void {
    const maps = branches.filter((branch) => branch.kind === "map");
    if (isMap(value) && maps.length > 0) return this.#checkChoice(maps, value);
    const alike = branches.find((branch) => isAlike(branch, value));
    if (alike !== undefined) return this.check(alike, value);
    const texts = branches.flatMap((branch) =>
      branch.kind === "scalar" && branch.schema.const !== undefined
        ? [String(branch.schema.const)]
        : [],
    );
    const suggestion = typeof value === "string" ? nearest(value, texts) : undefined;
    const found = show(value);
    this.#add({
      code: "wrong_type",
      message: `found ${found} where ${words} belongs`,
      found,
      allowed: words,
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  }

  // Maps that are told apart by their required keys.
  #checkChoice(branches: readonly MapNode[], value: Keyed): void {
    const chosen = branches.filter(({ required }) =>
      required.every((key) => Object.hasOwn(value, key)),
    );
    if (chosen.length === 1) return this.#checkMap(chosen[0], value);
    const keys = [...new Set(branches.flatMap(({ required }) => required))];
    const known = new Set(branches.flatMap(({ properties }) => [...properties.keys()]));
    const unknown = Object.keys(value).filter((key) => !known.has(key));
    for (const key of unknown) this.#unknownKey(key, unusedKeys(known, value));
    if (chosen.length === 0 && unknown.length > 0) return;
    const found = Object.keys(value).join(", ") || "none";
    this.#add({
      code: chosen.length === 0 ? "missing_key" : "conflict",
      message: `exactly one of ${keys.join(", ")} is needed, found ${found}`,
      found,
      allowed: `one of ${keys.join(", ")}`,
    });
  }

  // Whatever it is, it must survive being written as JSON and read again.
  #checkAny(value: unknown): void {
    if (this.#steps.length > DEPTH_MAX) {
      const message = `nested deeper than ${DEPTH_MAX}`;
      return this.#add({ code: "out_of_range", message, allowed: `at most ${DEPTH_MAX} levels` });
    }
    if (typeof value === "number") {
      if (Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value)))
        return;
      const allowed = "a finite number, whole ones up to 2^53; quote a larger one";
      const found = show(value);
      this.#add({ code: "out_of_range", message: `${found} is not ${allowed}`, found, allowed });
    } else if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) this.#step(i, ANY, value[i]);
    } else if (isMap(value)) {
      for (const key of Object.keys(value)) {
        if (key === "__proto__") this.#badKey(key);
        else this.#step(key, ANY, value[key]);
      }
    }
  }

  // Returns the key that was likely meant.
  #unknownKey(key: string, known: readonly string[]): string | undefined {
    const suggestion = nearest(key, known);
    this.#steps.push(key);
    this.#add({
      code: "unknown_key",
      message: `the key ${show(key)} is not known here`,
      found: key,
      allowed: known.join(", ") || "no other key",
      ...(suggestion === undefined ? {} : { suggestion }),
      at: "key",
    });
    this.#steps.pop();
    return suggestion;
  }

  #badKey(key: string): void {
    this.#steps.push(key);
    const message = `${show(key)} cannot be a key here`;
    this.#add({ code: "unknown_key", message, found: key, allowed: "a name", at: "key" });
    this.#steps.pop();
  }

  #wrongType(value: unknown, allowed: string, isSecret = false): void {
    const found = isSecret && typeof value !== "object" ? HIDDEN : show(value);
    const message = `found ${found} where ${allowed} belongs`;
    // A list or a map may hold the secret: then its line is not to be shown either.
    this.#add({ code: "wrong_type", message, found: isSecret ? HIDDEN : found, allowed });
  }
}

const ANY: Compiled = { kind: "any" };

function fits(schema: SchemaNode, pattern: RegExp | null, value: unknown): boolean {
  if (schema.const !== undefined) return value === schema.const;
  if (!isOfType(schema.type, value)) return false;
  if (typeof value === "number") {
    return value >= (schema.minimum ?? -Infinity) && value <= (schema.maximum ?? Infinity);
  }
  if (typeof value !== "string") return true;
  if (value.length < (schema.minLength ?? 0)) return false;
  if (value.length > (schema.maxLength ?? Infinity)) return false;
  return pattern === null || pattern.test(value);
}

function isOfType(type: string | undefined, value: unknown): boolean {
  if (type === "integer") return Number.isSafeInteger(value);
  if (type === "number") return Number.isFinite(value);
  return typeof value === type;
}

// The branch whose own fault says more than "none of these".
function isAlike(branch: Compiled, value: unknown): boolean {
  if (branch.kind === "list") return Array.isArray(value);
  if (branch.kind !== "scalar") return false;
  if (branch.schema.const !== undefined) return branch.schema.const === value;
  return isOfType(branch.schema.type, value);
}

function unusedKeys(known: Iterable<string>, value: Keyed): string[] {
  return [...known].filter((key) => !Object.hasOwn(value, key));
}

function isMap(value: unknown): value is Keyed {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
