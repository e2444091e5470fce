// What a schema allows, in words: the "allowed" of a fault.

import type { SchemaNode } from "./schema-faults.ts";

/** What may stand where the schema is, as the end of "found x where ... belongs". */
export function describe(schema: SchemaNode): string {
  if (schema.anyOf !== undefined) return schema.anyOf.map(describe).join(" or ");
  if (schema.enum !== undefined) return `one of ${schema.enum.join(", ")}`;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  switch (schema.type) {
    case "object": {
      const keys = schema.required ?? [];
      return keys.length === 0 ? "a map" : `a map with ${keys.join(", ")}`;
    }
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
  if (minimum !== undefined && maximum !== undefined)
    return `${what} from ${minimum} to ${maximum}`;
  return minimum === undefined ? what : `${what} of at least ${minimum}`;
}

function describeString({ description, pattern, minLength, maxLength }: SchemaNode): string {
  if (description !== undefined) return `text (${description})`;
  if (pattern !== undefined) return `text like ${pattern}`;
  if (maxLength !== undefined) return `text of ${minLength ?? 0} to ${maxLength} characters`;
  if (minLength === undefined) return "text";
  return minLength > 1 ? `text of at least ${minLength} characters` : "text that is not empty";
}
