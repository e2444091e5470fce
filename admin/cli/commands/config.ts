// sallyport config ...: checking, comparing and applying configurations.

import { readFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { stringify } from "yaml";
import { formatDiff } from "../../../gateway/config/diff.ts";
import { readDocument } from "../../../gateway/config/document.ts";
import type { DiffLine, Fault } from "../../../gateway/config/fault.ts";
import { formatFaults } from "../../../gateway/config/fault-text.ts";
import { checkConfigText, publishedSchema } from "../../../gateway/config/parse.ts";
import type { Config, ParsedConfig } from "../../../gateway/config/schema.ts";
import { resolveSecrets } from "../../../gateway/config/secrets.ts";
import { AdminError } from "../../client.ts";
import type { AdminClient } from "../../client.ts";
import { CliError, EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";

/** A configuration file as read. */
export type LoadedFile = { readonly file: string; readonly text: string };

export async function loadFile(file: string): Promise<LoadedFile> {
  try {
    return { file, text: await readFile(file, "utf8") };
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new CliError(`${file} cannot be read: ${reason}`);
  }
}

/** Checks a file offline; uploaded plugins are not known then. Faults are printed. */
export function checkLoaded({ file, text }: LoadedFile, output: Output): ParsedConfig | null {
  const { config, faults } = examine({ file, text });
  if (config !== null && faults.length === 0) return config;
  output.note(formatFaults(faults, { file, text, color: output.color }));
  return null;
}

export function checkCommand(loaded: LoadedFile, output: Output): number {
  const { faults } = examine(loaded);
  const { file, text } = loaded;
  output.result({ file, valid: faults.length === 0, faults }, () =>
    faults.length === 0
      ? `${file} is valid`
      : formatFaults(faults, { file, text, color: output.color }),
  );
  return faults.length === 0 ? EXIT.ok : EXIT.no;
}

type Applied = {
  readonly revision: number;
  readonly changed: boolean;
  readonly diff: readonly DiffLine[];
  readonly notes?: readonly string[];
  readonly took_ms: number;
};

/** Applies a file; without `prune` what only the gateway has is kept, and listed. */
export async function applyCommand(
  loaded: LoadedFile,
  client: AdminClient,
  options: { readonly prune: boolean; readonly dryRun: boolean; readonly output: Output },
): Promise<number> {
  const { output, prune, dryRun } = options;
  const query = dryRun ? "?dry_run=true" : "";
  let body = loaded.text;
  let ifMatch: number | undefined;
  let kept: readonly string[] = [];
  if (!prune) {
    const config = checkLoaded(loaded, output);
    if (config === null) return EXIT.no;
    const live = await client.call<Config>("GET", "/admin/config");
    const merged = mergeKeeping(live.body, config);
    kept = merged.kept;
    body = JSON.stringify(merged.config);
    ifMatch = Number(live.etag?.replaceAll('"', ""));
  }
  const sent = ifMatch === undefined ? { body } : { body, ifMatch };
  const { body: applied } = await client
    .call<Applied>("PUT", `/admin/config${query}`, sent)
    .catch((error: unknown) => {
      throw prune ? error : placedIn(loaded.text, error);
    });
  output.result({ ...applied, kept }, () => {
    const lines = [formatDiff(applied.diff, output).trimEnd()];
    if (kept.length > 0) {
      lines.push(`kept, though the file does not name it (--prune removes it): ${kept.join(", ")}`);
    }
    const verb = dryRun
      ? "would change; live is"
      : applied.changed
        ? "applied as"
        : "no change; live is";
    lines.push(`${verb} revision ${applied.revision} (${applied.took_ms} ms)`);
    if (applied.changed && !dryRun) {
      lines.push(`undo: sallyport config rollback ${applied.revision - 1}`);
    }
    return lines.filter((line) => line !== "").join("\n");
  });
  return EXIT.ok;
}

export async function dumpCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<Config>("GET", "/admin/config");
  output.result(body, () => stringify(body));
  return EXIT.ok;
}

export function schemaCommand(output: Output): number {
  output.print(JSON.stringify(publishedSchema(), null, 2));
  return EXIT.ok;
}

type RevisionRow = {
  readonly revision: number;
  readonly at: string;
  readonly actor: string;
  readonly message: string;
};

export async function revisionsCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<readonly RevisionRow[]>("GET", "/admin/revisions");
  output.result(body, () =>
    table([
      ["REVISION", "AT", "BY", "MESSAGE"],
      ...body.map(({ revision, at, actor, message }) => [String(revision), at, actor, message]),
    ]),
  );
  return EXIT.ok;
}

export async function rollbackCommand(
  revision: string,
  client: AdminClient,
  output: Output,
): Promise<number> {
  if (!/^\d+$/.test(revision)) throw new CliError(`${revision} is not the number of a revision`);
  const live = await client.call<Config>("GET", "/admin/config");
  const from = live.etag?.replaceAll('"', "") ?? "";
  const sent = { body: JSON.stringify({ revision: Number(revision) }) };
  const { body } = await client.call<Applied>("POST", "/admin/rollback", sent);
  output.result({ from: Number(from), to: Number(revision), ...body }, () =>
    [
      `revision ${from} -> ${revision}, live as revision ${body.revision} (${body.took_ms} ms)`,
      ...(body.notes ?? []),
      `undo: sallyport config rollback ${from}`,
    ].join("\n"),
  );
  return EXIT.ok;
}

function examine({ file, text }: LoadedFile): {
  config: ParsedConfig | null;
  faults: readonly Fault[];
} {
  const source = {
    readFile: (path: string) => readFileSync(path, "utf8"),
    env: process.env,
    baseDir: dirname(resolve(file)),
  };
  const checked = checkConfigText(text, { ...source, plugins: null });
  if (!checked.ok) return { config: null, faults: checked.faults };
  return { config: checked.config, faults: resolveSecrets(checked.config, source).faults };
}

const LISTS = ["certificates", "listeners", "upstreams", "routes", "consumers"] as const;

// Faults of the merged configuration at their places in the file, whose entries come first in every list.
function placedIn(text: string, error: unknown): unknown {
  if (!(error instanceof AdminError) || !Array.isArray(error.problem["faults"])) return error;
  const document = readDocument(text);
  if (!("value" in document)) return error;
  const found = error.problem["faults"] as readonly Fault[];
  const faults = document.place(found.map((fault) => ({ ...fault, at: "value" })));
  return new AdminError(error.status, error.code, error.message, { ...error.problem, faults });
}

// What the file names replaces what is live; the rest stays where it was.
function mergeKeeping(live: Config, file: Config): { config: Config; kept: readonly string[] } {
  const kept: string[] = [];
  const merged: Record<string, unknown> = { ...live, ...file };
  for (const key of LISTS) {
    const named = file[key] ?? [];
    const names = new Set<string>(named.map(({ name }) => name));
    const rest = (live[key] ?? []).filter(({ name }) => !names.has(name));
    if (rest.length + named.length > 0) merged[key] = [...named, ...rest];
    kept.push(...rest.map(({ name }) => `${key}/${name}`));
  }
  for (const key of Object.keys(live)) {
    if (!(key in file) && !LISTS.some((list) => list === key)) kept.push(key);
  }
  return { config: merged as Config, kept };
}
