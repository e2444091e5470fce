// sallyport plugin ...: shipping plugins and looking at them.

import type { AdminClient } from "../../client.ts";
import { readModule } from "../author/module-file.ts";
import { readSignature } from "../author/signature-file.ts";
import { CliError, EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";

type Version = {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly size_bytes: number;
  readonly created_at: string;
  readonly current: boolean;
  readonly retired_at: string | null;
  readonly signature: { readonly format: string; readonly key_id: string | null } | null;
  readonly signed_by: string | null;
  readonly set_aside: { readonly until: string; readonly reason: string } | null;
  readonly routes: readonly string[];
};

export type Pushed = Version & {
  readonly took_ms: number;
  readonly created: boolean;
  readonly restored: boolean;
};

export type Plugin = {
  readonly name: string;
  readonly current: string | null;
  readonly history: readonly string[];
  readonly versions: readonly Version[];
};

export async function pushCommand(
  file: string,
  client: AdminClient,
  options: {
    readonly name?: string;
    readonly version?: string;
    readonly attach?: string;
    /** Its file, when it does not lie beside the module. */
    readonly signature?: string;
    readonly output: Output;
  },
): Promise<number> {
  const { attach, output } = options;
  const signature = await readSignature(file, options.signature);
  const bytes = await readModule(file);
  // A misspelt route is told before anything is live.
  if (attach !== undefined) await client.call("GET", routePath(attach));
  const body = await pushModule(bytes, client, { ...options, signature });
  let attached: Attached | null = null;
  if (attach !== undefined) {
    attached = await attachTo(attach, body.name, client).catch((error: unknown) => {
      output.note(
        `${body.name}@${body.version} is stored and current, and not attached to ${attach}:`,
      );
      throw error;
    });
  }
  output.result({ ...body, attached: attached?.revision ?? null }, () => {
    const known = body.restored ? "was retired, back and live" : "known already, live";
    const verb = body.created ? "stored and live" : known;
    const signed = body.signed_by === null ? "" : `, signed by ${body.signed_by}`;
    const lines = [`${body.name}@${body.version} ${verb} in ${body.took_ms} ms${signed}`];
    if (signature !== null && body.signed_by === null) {
      lines.push("its signature was kept, not verified: no trusted_plugin_keys are configured");
    }
    if (attached !== null) {
      const { revision, before } = attached;
      if (revision === before) lines.push(`route ${attach} has it already, revision ${revision}`);
      else {
        lines.push(`attached to route ${attach}, revision ${revision}`);
        lines.push(`undo: sallyport config rollback ${before}`);
      }
    }
    if (body.routes.length === 0 && attached === null) {
      lines.push("no route uses it yet: add it to a route's plugins, or push with --attach ROUTE");
    }
    return lines.join("\n");
  });
  return EXIT.ok;
}

/** Stores a module as the next version and makes it current. */
export async function pushModule(
  bytes: Uint8Array,
  client: AdminClient,
  wanted: {
    readonly name?: string;
    readonly version?: string;
    /** The bytes of a signature file. */
    readonly signature?: Uint8Array | null;
  },
): Promise<Pushed> {
  const { name, version, signature } = wanted;
  const query = new URLSearchParams();
  if (name !== undefined) query.set("name", name);
  if (version !== undefined) query.set("version", version);
  const path = `/admin/plugins/load?${query}`;
  const headers = signatureHeaders(signature ?? null);
  return (await client.call<Pushed>("POST", path, { body: bytes, headers })).body;
}

/** How a signature goes along with a module. */
export function signatureHeaders(signature: Uint8Array | null): Readonly<Record<string, string>> {
  if (signature === null) return {};
  return { "x-plugin-signature": Buffer.from(signature).toString("base64") };
}

function signerText(version: Version | undefined): string {
  if (version?.signature == null) return "-";
  return version.signed_by ?? `(unverified ${version.signature.format})`;
}

// Below the table: the reason is a sentence.
function setAsideText({ name, version, set_aside: aside }: Version): string[] {
  if (aside === null) return [];
  return [`\n${name}@${version} is set aside until ${aside.until}: ${aside.reason}`];
}

/** All plugins, and which versions do not serve although they are current. */
export async function listCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<readonly Plugin[]>("GET", "/admin/plugins");
  output.result(
    body,
    () =>
      table([
        ["PLUGIN", "CURRENT", "VERSIONS", "SIGNED BY", "ROUTES"],
        ...body.map(({ name, current, versions }) => [
          name,
          current ?? "-",
          String(versions.length),
          signerText(versions.find((each) => each.current)),
          [...new Set(versions.flatMap(({ routes }) => routes))].join(",") || "-",
        ]),
      ]) + body.flatMap(({ versions }) => versions.flatMap(setAsideText)).join(""),
  );
  return EXIT.ok;
}

export async function versionsCommand(
  name: string,
  client: AdminClient,
  { retired, output }: { readonly retired: boolean; readonly output: Output },
): Promise<number> {
  const path = `/admin/plugins/${encodeURIComponent(name)}${retired ? "?retired=true" : ""}`;
  const { body } = await client.call<Plugin>("GET", path);
  output.result(body, () =>
    table([
      ["VERSION", "CURRENT", "BYTES", "CREATED", "SIGNED BY", "ROUTES", "DIGEST"],
      ...body.versions.map((each) => [
        each.version,
        each.current ? "*" : each.retired_at === null ? "" : "retired",
        String(each.size_bytes),
        each.created_at,
        signerText(each),
        each.routes.join(",") || "-",
        each.digest.slice(0, 19),
      ]),
    ]),
  );
  return EXIT.ok;
}

export async function removeCommand(
  spec: string,
  client: AdminClient,
  { purge, output }: { readonly purge: boolean; readonly output: Output },
): Promise<number> {
  const [name, version] = spec.split("@");
  if (version === undefined)
    throw new CliError("say which version: sallyport plugin rm NAME@VERSION");
  const path = `/admin/plugins/${encodeURIComponent(name)}/versions/${version}`;
  const { body } = await client.call<object>("DELETE", `${path}${purge ? "?purge=true" : ""}`);
  output.result(body, () =>
    purge
      ? `${name}@${version} is forgotten`
      : `${name}@${version} is retired\nundo: push the same module again, or sallyport plugin rollback ${name} ${version}`,
  );
  return EXIT.ok;
}

type Switched = {
  readonly from: string;
  readonly to: string;
  readonly restored: boolean;
  readonly took_ms: number;
};

/** Makes an earlier version current: the one that was current before, unless one is named. */
export async function rollbackPluginCommand(
  name: string,
  wanted: string | undefined,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const path = `/admin/plugins/${encodeURIComponent(name)}/rollback`;
  const sent = { body: JSON.stringify(wanted === undefined ? {} : { version: wanted }) };
  const { body } = await client.call<Switched>("POST", path, sent);
  output.result(body, () => {
    const { from, to, restored, took_ms: tookMs } = body;
    const lines = [`${name} ${from || "none"} -> ${to} (${tookMs} ms)`];
    if (restored) lines.push(`${name}@${to} was retired and is back`);
    if (from !== "") lines.push(`undo: sallyport plugin rollback ${name} ${from}`);
    return lines.join("\n");
  });
  return EXIT.ok;
}

function routePath(route: string): string {
  return `/admin/routes/${encodeURIComponent(route)}`;
}

/** The revision that has a plugin on its route, and the one before: the same when it was there already. */
type Attached = { readonly revision: number; readonly before: number };

/** Adds a plugin to the end of a route's, unless it is there. */
export async function attachTo(
  route: string,
  plugin: string,
  client: AdminClient,
): Promise<Attached> {
  const path = routePath(route);
  const { body, etag } = await client.call<{ plugins?: readonly { plugin: string }[] }>(
    "GET",
    path,
  );
  const plugins = body.plugins ?? [];
  const before = Number(etag?.replaceAll('"', ""));
  if (plugins.some((each) => each.plugin === plugin)) return { revision: before, before };
  const changed = { plugins: [...plugins, { plugin }] };
  const answer = await client.call<{ revision: number }>("PATCH", path, {
    body: JSON.stringify(changed),
    ifMatch: before,
  });
  return { revision: answer.body.revision, before };
}
