// sallyport plugin ...: shipping plugins and looking at them.

import type { AdminClient } from "../../client.ts";
import { readModule } from "../author/module-file.ts";
import { CliError, EXIT, table } from "../output.ts";
import type { Output } from "../output.ts";

type Version = {
  readonly name: string;
  readonly version: string;
  readonly digest: string;
  readonly size_bytes: number;
  readonly created_at: string;
  readonly current: boolean;
  readonly set_aside: { readonly until: string; readonly reason: string } | null;
  readonly routes: readonly string[];
};

type Pushed = Version & { readonly took_ms: number; readonly created: boolean };

type Plugin = {
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
    readonly output: Output;
  },
): Promise<number> {
  const { attach, output } = options;
  const body = await pushModule(await readModule(file), client, options);
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

/** Stores a module as the next version and makes it current. */
export async function pushModule(
  bytes: Uint8Array,
  client: AdminClient,
  { name, version }: { readonly name?: string; readonly version?: string },
): Promise<Pushed> {
  const query = new URLSearchParams();
  if (name !== undefined) query.set("name", name);
  if (version !== undefined) query.set("version", version);
  const path = `/admin/plugins/load?${query}`;
  return (await client.call<Pushed>("POST", path, { body: bytes })).body;
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
        ["PLUGIN", "CURRENT", "VERSIONS", "ROUTES"],
        ...body.map(({ name, current, versions }) => [
          name,
          current ?? "-",
          String(versions.length),
          [...new Set(versions.flatMap(({ routes }) => routes))].join(",") || "-",
        ]),
      ]) + body.flatMap(({ versions }) => versions.flatMap(setAsideText)).join(""),
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

/** Adds a plugin to the end of a route's, unless it is there; the revision that has it. */
export async function attachTo(
  route: string,
  plugin: string,
  client: AdminClient,
): Promise<number> {
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
