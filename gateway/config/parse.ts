// The one door from text or a foreign value to a configuration that the rest may trust. What passes
// was checked whole; what does not is answered with every fault at once.

import { BUILTIN_SCHEMAS } from "./builtin-schemas.ts";
import { crossFaults } from "./check.ts";
import type { CheckContext } from "./check.ts";
import { placeFault, readDocument } from "./document.ts";
import type { ConfigDocument } from "./document.ts";
import type { Fault } from "./fault.ts";
import { schemaFaults } from "./schema-faults.ts";
import { ConfigSchema } from "./schema.ts";
import type { Config, ParsedConfig } from "./schema.ts";

export type { CheckContext } from "./check.ts";

const FAULTS_MAX = 1000;

export type Checked =
  | { readonly ok: true; readonly config: ParsedConfig }
  | { readonly ok: false; readonly faults: readonly Fault[] };

/** Checks a text, YAML or JSON; faults carry their line and column. */
export function checkConfigText(text: string, context: CheckContext): Checked {
  const document = readDocument(text);
  if (!("value" in document)) return { ok: false, faults: document };
  return check(document.value, document, context);
}

/** Checks a value that has no text, such as an edited configuration. */
export function checkConfigValue(value: unknown, context: CheckContext): Checked {
  return check(value, null, context);
}

/** The schema of the whole configuration with those of the built-in plugins (JSON Schema 2020-12). */
export function publishedSchema(): Record<string, unknown> {
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Sallyport configuration",
    ...(ConfigSchema as object),
    $defs: Object.fromEntries(
      [...BUILTIN_SCHEMAS].map(([name, schema]) => [`plugin-${name}`, schema]),
    ),
  };
}

function check(value: unknown, document: ConfigDocument | null, context: CheckContext): Checked {
  let faults = schemaFaults(ConfigSchema, value, "");
  // References and conflicts of something half understood would be noise.
  if (faults.length === 0) faults = crossFaults(value as Config, context);
  if (faults.length === 0) return { ok: true, config: value as ParsedConfig };
  const placed = faults.slice(0, FAULTS_MAX).map((fault) => placeFault(fault, document));
  placed.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  return { ok: false, faults: placed };
}
