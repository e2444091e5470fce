// sallyport plugin ...: shipping plugins and looking at them.

import { readFile } from "node:fs/promises";
import type { AdminClient } from "../../client.ts";
import { CliError, EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";

type Version = {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly size_bytes: number;
  readonly created_at: string;
  readonly current: boolean;
  readonly routes: readonly string[];
};

type Plugin = {
  readonly name: string;
  readonly current: string | null;
  readonly history: readonly string[];
  readonly versions: readonly Version[];
};

/** What `inspect` shows; the composition root knows the sandbox. */
export type InspectModule = (bytes: Uint8Array) => Promise<{
  readonly digest: string;
  readonly exports: readonly string[];
  readonly imports: readonly string[];
  readonly manifest: unknown;
}>;

export async function pushCommand(
  file: string,
  client: AdminClient,
  options: {
    readonly name?: string;
    readonly version?: string;
    readonly attach?: string;
    readonly output: Output;
  },
): Promise<number> {
  const { name, version, attach, output } = options;
  const query = new URLSearchParams();
  if (name !== undefined) query.set("name", name);
  if (version !== undefined) query.set("version", version);
  const { body } = await client.call<Version & { took_ms: number; created: boolean }>(
    "POST",
    `/admin/plugins/load?${query}`,
    { body: await readModule(file) },
  );
  let attached: number | null = null;
  if (attach !== undefined) attached = await attachTo(attach, body.name, client);
  output.result({ ...body, attached }, () => {
    const verb = body.created ? "stored and live" : "known already, live";
    const lines = [`${body.name}@${body.version} ${verb} in ${body.took_ms} ms`];
    if (attached !== null) lines.push(`attached to route ${attach}, revision ${attached}`);
    if (body.routes.length === 0 && attached === null) {
      lines.push("no route uses it yet: add it to a route's plugins, or push with --attach ROUTE");
    }
    return lines.join("\n");
  });
  return EXIT.ok;
}

export async function listCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<readonly Plugin[]>("GET", "/admin/plugins");
  output.result(body, () =>
    table([
      ["PLUGIN", "CURRENT", "VERSIONS", "ROUTES"],
      ...body.map(({ name, current, versions }) => [
        name,
        current ?? "-",
        String(versions.length),
        [...new Set(versions.flatMap(({ routes }) => routes))].join(",") || "-",
      ]),
    ]),
  );
  return EXIT.ok;
}

export async function versionsCommand(
  name: string,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const { body } = await client.call<Plugin>("GET", `/admin/plugins/${encodeURIComponent(name)}`);
  output.result(body, () =>
    table([
      ["VERSION", "CURRENT", "BYTES", "CREATED", "ROUTES", "DIGEST"],
      ...body.versions.map((each) => [
        each.version,
        each.current ? "*" : "",
        String(each.size_bytes),
        each.created_at,
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
  output: Output,
): Promise<number> {
  const [name, version] = spec.split("@");
  if (version === undefined)
    throw new CliError("say which version: sallyport plugin rm NAME@VERSION");
  await client.call("DELETE", `/admin/plugins/${encodeURIComponent(name)}/versions/${version}`);
  output.result({ name, version, removed: true }, () => `${name}@${version} removed`);
  return EXIT.ok;
}

/** Makes an earlier version current: the one that was current before, unless one is named. */
export async function rollbackPluginCommand(
  name: string,
  wanted: string | undefined,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const path = `/admin/plugins/${encodeURIComponent(name)}`;
  const { body: plugin } = await client.call<Plugin>("GET", path);
  const version = wanted ?? plugin.history.at(-1);
  if (version === undefined) {
    throw new CliError(
      `${name}@${plugin.current} is the only version that ever was current`,
      EXIT.no,
    );
  }
  const { body } = await client.call<{ from: string; to: string }>("PUT", `${path}/current`, {
    body: JSON.stringify({ version }),
  });
  output.result(
    body,
    () =>
      `${name} ${body.from} -> ${body.to}\nundo: sallyport plugin rollback ${name} ${body.from}`,
  );
  return EXIT.ok;
}

export async function inspectCommand(
  file: string,
  inspect: InspectModule,
  output: Output,
): Promise<number> {
  const bytes = await readModule(file);
  const facts = await inspect(bytes).catch((error: unknown) => {
    const code = error instanceof Error && "code" in error ? `${String(error.code)}: ` : "";
    const message = error instanceof Error ? error.message : String(error);
    throw new CliError(`${file} would be refused: ${code}${message}`, EXIT.no);
  });
  output.result({ file, size_bytes: bytes.length, ...facts }, () =>
    [
      `${file}: ${bytes.length} bytes, ${facts.digest}`,
      `exports   ${facts.exports.join(", ")}`,
      `imports   ${facts.imports.join(", ") || "none"}`,
      `manifest  ${facts.manifest === null ? "none" : JSON.stringify(facts.manifest)}`,
    ].join("\n"),
  );
  return EXIT.ok;
}

async function readModule(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new CliError(`${file} cannot be read: ${reason}`);
  }
}

async function attachTo(route: string, plugin: string, client: AdminClient): Promise<number> {
  const path = `/admin/routes/${encodeURIComponent(route)}`;
  const { body, etag } = await client.call<{ plugins?: readonly { plugin: string }[] }>(
    "GET",
    path,
  );
  const plugins = body.plugins ?? [];
  const ifMatch = Number(etag?.replaceAll('"', ""));
  if (plugins.some((each) => each.plugin === plugin)) return ifMatch;
  const changed = { plugins: [...plugins, { plugin }] };
  const answer = await client.call<{ revision: number }>("PATCH", path, {
    body: JSON.stringify(changed),
    ifMatch,
  });
  return answer.body.revision;
}
