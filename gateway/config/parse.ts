// The one door from text or a foreign value to a configuration that the rest may trust. What passes
// was checked whole; what does not is answered with every fault at once.

import { BUILTIN_SCHEMAS } from "./builtin-schemas.ts";
import { checkRules } from "./check.ts";
import type { CheckContext } from "./context.ts";
import { DEPTH_MAX, readDocument } from "./document.ts";
import type { Fault } from "./fault.ts";
import { FaultList, withoutPlace } from "./fault-list.ts";
import { checkSchema, compileSchema } from "./schema-faults.ts";
import { ConfigSchema } from "./schema.ts";
import type { Config, ParsedConfig } from "./schema.ts";
import { takeOutFaults } from "./sound.ts";
import type { Sound } from "./sound.ts";

export type { CheckContext } from "./context.ts";
export { publishedSchema } from "./published-schema.ts";

export type Checked =
  | { readonly ok: true; readonly config: ParsedConfig }
  | { readonly ok: false; readonly faults: readonly Fault[] };

/**
 * Checks a text, YAML or JSON; faults carry their line and column. Secrets stay references in the
 * configuration, but those that cannot be read are faults.
 */
export function checkConfigText(text: string, context: CheckContext): Checked {
  const document = readDocument(text);
  if (!("value" in document)) return { ok: false, faults: document };
  const faults = findFaults(document.value, context);
  if (faults.size > 0) return { ok: false, faults: document.place(faults.faults) };
  return { ok: true, config: document.value as ParsedConfig };
}

/** Checks a value that has no text, such as an edited configuration. What passes is a copy. */
export function checkConfigValue(value: unknown, context: CheckContext): Checked {
  let copy: unknown;
  try {
    // As it will be stored: keys without a value go, accessors and prototypes cannot hide anything.
    copy = JSON.parse(JSON.stringify(value) ?? "null");
  } catch (error) {
    const message = error instanceof Error ? error.message.split("\n", 1)[0] : String(error);
    return { ok: false, faults: [{ code: "syntax", message: `not JSON: ${message}`, path: "" }] };
  }
  if (isDeeper(copy, DEPTH_MAX)) {
    const message = `nested deeper than ${DEPTH_MAX} levels`;
    return { ok: false, faults: [{ code: "syntax", message, path: "" }] };
  }
  const { faults, size } = findFaults(copy, context);
  if (size === 0) return { ok: true, config: copy as ParsedConfig };
  return { ok: false, faults: faults.map(withoutPlace) };
}

// What is checked and kept recurses.
function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  return levels === 0 || Object.values(value).some((child) => isDeeper(child, levels - 1));
}

function findFaults(value: unknown, context: CheckContext): FaultList {
  const faults = new FaultList();
  checkSchema(compileSchema(ConfigSchema), value, { path: "", faults });
  const sound = takeOutFaults(value, faults.faults);
  if (sound === undefined) return faults;
  const builtins = new Map([...BUILTIN_SCHEMAS].map(([name, node]) => [name, compileSchema(node)]));
  checkRules(sound as Sound<Config>, { context, builtins, faults });
  return faults;
}
