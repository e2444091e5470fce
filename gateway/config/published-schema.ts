// The JSON Schema that is published for editors and other tools: the schema that is checked, and for
// each built-in plugin the configuration that it takes.

import { BUILTIN_SCHEMAS } from "./builtin-schemas.ts";
import { ConfigSchema } from "./schema.ts";

type JsonObject = Record<string, unknown>;

/** The schema of the whole configuration (JSON Schema 2020-12), a fresh copy. */
export function publishedSchema(): JsonObject {
  const config = JSON.parse(JSON.stringify(ConfigSchema), close) as JsonObject;
  const builtins = JSON.parse(JSON.stringify(Object.fromEntries(BUILTIN_SCHEMAS)), close);
  const definitions = Object.entries(builtins as JsonObject);
  const properties = config.properties as Record<string, JsonObject>;
  const route = properties.routes.items as { properties: Record<string, JsonObject> };
  const attachment = route.properties.plugins.items as JsonObject;
  attachment.allOf = definitions.map(([name]) => ({
    if: { properties: { plugin: { const: name } }, required: ["plugin"] },
    // eslint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
    then: { properties: { config: { $ref: `#/$defs/plugin-${name}` } } },
  }));
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Sallyport configuration",
    ...config,
    $defs: Object.fromEntries(definitions.map(([name, schema]) => [`plugin-${name}`, schema])),
  };
}

// A record refuses keys that fit no pattern, as the checker does.
function close(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || !("patternProperties" in value)) return value;
  return { ...value, additionalProperties: false };
}
