// The configuration of an uploaded plugin against the schema in its manifest: the same checker as for
// the rest of the configuration, so that its faults are said in the same way. Which schemas there can
// be is decided at upload (sandbox/config-schema.ts).

import type { CheckContext } from "./context.ts";
import { FaultList, withoutPlace } from "./fault-list.ts";
import type { PlacedFault } from "./fault-list.ts";
import type { Fault } from "./fault.ts";
import { checkSchema, compileSchema } from "./schema-faults.ts";
import type { Compiled, SchemaNode } from "./schema-faults.ts";
import type { Config } from "./schema.ts";
import { resolveReferences } from "./secrets.ts";
import type { SecretSource } from "./secrets.ts";
import type { Resolution } from "./version-range.ts";

/** A schema as a manifest has it. */
export type PluginSchema = Readonly<Record<string, unknown>>;

/** An uploaded plugin: what the checker of configurations knows of it. */
export type KnownPlugin = {
  /** The version of attachments that name none. */
  readonly current: string;
  /** The schema of each version's configuration; null where it has none. */
  readonly versions: ReadonlyMap<string, PluginSchema | null>;
  /** Versions that no range comes to now. */
  readonly setAside?: ReadonlySet<string>;
  /** What ranges came to before, and come to again while it is there. */
  readonly kept?: Resolution;
};

type SchemaParts = SchemaNode & {
  readonly type?: string | readonly string[];
  readonly additionalProperties?: boolean | SchemaParts;
  readonly writeOnly?: boolean;
};

/** Makes ready what a manifest says; to be done once for all attachments of a version. */
export function compilePluginSchema(schema: PluginSchema): Compiled {
  return compileSchema(nodeOf(schema));
}

// A manifest's schema in the words of ours: maps are open unless they say otherwise.
function nodeOf(schema: object): SchemaNode {
  const { type, additionalProperties: others = true, writeOnly, ...rest } = schema as SchemaParts;
  if (rest.const !== undefined) return { enum: [rest.const] };
  if (rest.enum !== undefined) return { enum: rest.enum };
  if (Array.isArray(type)) return { anyOf: type.map((each) => nodeOf({ ...schema, type: each })) };
  switch (type) {
    case undefined:
      return {};
    case "null":
      return { type, const: null };
    case "array":
      return { ...rest, type, items: nodeOf(rest.items ?? {}) };
    case "object": {
      const properties = Object.entries(rest.properties ?? {});
      return {
        ...{ type, required: rest.required ?? [] },
        properties: Object.fromEntries(properties.map(([key, child]) => [key, nodeOf(child)])),
        ...(others === false
          ? {}
          : { patternProperties: { "": nodeOf(others === true ? {} : others) } }),
      };
    }
    default:
      return { ...rest, type: type as string, secret: writeOnly === true };
  }
}

/**
 * Adds what is wrong with an attachment's configuration, at `path`. A reference to a secret is judged by
 * what it stands for, which is never told; one that cannot be read is told elsewhere.
 */
export function checkPluginConfig(
  schema: Compiled,
  config: unknown,
  {
    path,
    source,
    faults,
  }: { readonly path: string; readonly source: SecretSource; readonly faults: FaultList },
): void {
  const { value, references } = resolveReferences(config, path, source);
  const own = new FaultList();
  checkSchema(schema, value, { path, faults: own });
  for (const fault of own.faults) {
    const reference = references.get(fault.path);
    if (reference === undefined) faults.add(fault);
    else if (reference.isReadable) faults.add(unfit(fault, reference.text));
  }
}

function unfit({ path, allowed }: PlacedFault, found: string): PlacedFault {
  const message = `what ${found} stands for is not ${allowed}`;
  return { code: "out_of_range", message, path, found, allowed, at: "value" };
}

/** The faults of a configuration's attachments that follow the current version of a plugin. */
export function checkFollowers(
  config: Config,
  { plugin, schema }: { readonly plugin: string; readonly schema: PluginSchema | null },
  source: Omit<CheckContext, "plugins">,
): readonly Fault[] {
  if (schema === null) return [];
  const compiled = compilePluginSchema(schema);
  const faults = new FaultList();
  config.routes?.forEach((route, i) => {
    route.plugins?.forEach((attachment, j) => {
      if (attachment.plugin !== plugin || attachment.version !== undefined) return;
      const path = `/routes/${i}/plugins/${j}/config`;
      checkPluginConfig(compiled, attachment.config ?? {}, { path, source, faults });
    });
  });
  return faults.faults.map(withoutPlace);
}
