// Uploaded plugins: their versions, which one is current, and the one-line upload.

import { LIMITS } from "../../../gateway/base/limits.ts";
import { ControlError } from "../control.ts";
import { checkAccess } from "../auth.ts";
import type { Control, PluginSample, PluginVersionInfo } from "../control.ts";
import { jsonBody } from "../json-body.ts";
import { flagOf } from "../route.ts";
import type { ApiRequest, ApiResponse, ApiRoute } from "../route.ts";

const MODULE = { bytesMax: LIMITS.pluginBytesMax, type: "application/wasm" };
const SMALL_JSON = { bytesMax: 1024 * 1024, type: "application/json" };

export const PLUGIN_ROUTES: readonly ApiRoute[] = [
  {
    method: "POST",
    path: "/admin/plugins/load",
    summary: "Stores a module as the next version, makes it current; live on return",
    role: "deploy",
    body: MODULE,
    query: ["name", "version"],
    handle: (request) =>
      load(request, {
        name: request.query.get("name"),
        version: request.query.get("version"),
        makeCurrent: true,
      }),
  },
  {
    method: "POST",
    path: "/admin/plugins/{name}/versions/{version}",
    summary: "Stores a version and attaches nothing; the same bytes again are no error",
    role: "deploy",
    body: MODULE,
    handle: (request) =>
      load(request, {
        name: request.params["name"],
        version: request.params["version"],
        makeCurrent: false,
      }),
  },
  {
    method: "GET",
    path: "/admin/plugins",
    summary: "All plugins with their versions; retired=true: also those out of use",
    role: "read",
    query: ["retired"],
    handle: ({ control, query }) => ({
      status: 200,
      body: grouped(control, { retired: flagOf(query, "retired") }),
    }),
  },
  {
    method: "GET",
    path: "/admin/plugins/{name}",
    summary: "One plugin with its versions; retired=true: also those out of use",
    role: "read",
    query: ["retired"],
    handle: ({ control, params, query }) => {
      const plugins = grouped(control, { retired: flagOf(query, "retired") });
      const found = plugins.find(({ name }) => name === params["name"]);
      if (found === undefined) throw unknownPlugin(params["name"]);
      return { status: 200, body: found };
    },
  },
  {
    method: "GET",
    path: "/admin/plugins/{name}/versions/{version}",
    summary: "One version, a retired one too",
    role: "read",
    handle: ({ control, params: { name, version } }) => {
      const found = control.plugins
        .list({ retired: true })
        .find((each) => each.name === name && each.version === version);
      if (found === undefined) throw unknownPlugin(`${name}@${version}`);
      return { status: 200, body: shown(found) };
    },
  },
  {
    method: "DELETE",
    path: "/admin/plugins/{name}/versions/{version}",
    summary:
      "Retires a version that nothing uses: its bytes stay, and the way back. purge=true (role admin): " +
      "forgets a retired one",
    role: "deploy",
    query: ["purge"],
    handle: async (request) => {
      const { control, params, query } = request;
      const { name, version } = params;
      const purged = flagOf(query, "purge");
      if (purged) {
        checkAccess({ name: request.actor, role: request.role }, "admin");
        await control.plugins.purge(name, version);
      } else await control.plugins.retire(name, version);
      return { status: 200, body: { name, version, retired: true, purged }, audit: { purged } };
    },
  },
  {
    method: "PUT",
    path: "/admin/plugins/{name}/current",
    summary: "Makes a stored version the one that attachments without a version follow",
    role: "deploy",
    body: SMALL_JSON,
    handle: async ({ control, params: { name }, body }) => {
      const { version } = jsonBody(body);
      if (typeof version !== "string") {
        throw new ControlError(400, "bad_request", 'The body is {"version": "1.2.0"}.');
      }
      const { from, to, tookMs } = await control.plugins.setCurrent(name, version);
      return { status: 200, body: { name, from, to, took_ms: tookMs }, audit: { from, to } };
    },
  },
  {
    method: "POST",
    path: "/admin/plugins/{name}/rollback",
    summary:
      "Makes what was current before, or a version of the body, current again; brings back a retired one",
    role: "deploy",
    body: SMALL_JSON,
    handle: async ({ control, params: { name }, body }) => {
      const { version = null } = jsonBody(body);
      if (version !== null && typeof version !== "string") {
        throw new ControlError(400, "bad_request", 'The body is {} or {"version": "1.2.0"}.');
      }
      const { tookMs, ...change } = await control.plugins.rollback(name, version);
      return { status: 200, body: { name, ...change, took_ms: tookMs }, audit: change };
    },
  },
  {
    method: "GET",
    path: "/admin/routes/{name}/plugins",
    summary: "What a route attaches: each version or range as written, and the version that runs",
    role: "read",
    handle: ({ control, params: { name } }) => ({
      status: 200,
      body: control.plugins.attached(name),
    }),
  },
  {
    method: "POST",
    path: "/admin/plugins/{name}/versions/{version}/test",
    summary: "Runs a version on a sample request and tells its decision; changes nothing",
    role: "deploy",
    body: SMALL_JSON,
    handle: async ({ control, params: { name, version }, body }) => ({
      status: 200,
      body: await control.plugins.test(name, version, toSample(jsonBody(body))),
    }),
  },
];

async function load(
  { control, headers, body, actor }: ApiRequest,
  wanted: { name: string | null; version: string | null; makeCurrent: boolean },
): Promise<ApiResponse> {
  const { "x-plugin-sha256": sha256, "x-plugin-signature": signature } = headers;
  if (body.length === 0) {
    throw new ControlError(400, "empty_body", "The body is the module: --data-binary @plugin.wasm");
  }
  const result = await control.plugins.load({
    ...wanted,
    bytes: body,
    sha256: typeof sha256 === "string" ? sha256.toLowerCase() : null,
    signature: typeof signature === "string" ? signature : null,
    actor,
  });
  const { created, restored, tookMs, limits } = result;
  return {
    status: created ? 201 : 200,
    body: { ...shown(result), created, restored, took_ms: tookMs, limits: shownLimits(limits) },
    audit: {
      plugin: `${result.name}@${result.version}`,
      digest: result.digest,
      signed_by: result.signedBy,
    },
  };
}

// memoryPagesMax -> memory_pages_max
function shownLimits(limits: Readonly<Record<string, number>>): Record<string, number> {
  const shown = Object.entries(limits).map(([name, value]) => [
    name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    value,
  ]);
  return Object.fromEntries(shown);
}

type ShownVersion = Readonly<Record<string, unknown>> & { readonly version: string };

function shown(info: PluginVersionInfo): ShownVersion {
  const { name, version, digest, abi, exports, current, routes } = info;
  const { sizeBytes, createdAt, retiredAt, setAside, signature, signedBy } = info;
  return {
    name,
    version,
    digest,
    size_bytes: sizeBytes,
    abi,
    exports,
    created_at: createdAt,
    current,
    retired_at: retiredAt,
    set_aside: setAside,
    signature: signature === null ? null : { format: signature.format, key_id: signature.keyId },
    signed_by: signedBy,
    routes,
  };
}

type ShownPlugin = {
  readonly name: string;
  readonly current: string | null;
  /** What was current before, the latest last. */
  readonly history: readonly string[];
  readonly versions: readonly ShownVersion[];
};

function grouped(control: Control, options: { readonly retired: boolean }): ShownPlugin[] {
  const byName = Map.groupBy(control.plugins.list(options), ({ name }) => name);
  return [...byName].map(([name, versions]) => ({
    name,
    current: versions.find(({ current }) => current)?.version ?? null,
    history: control.plugins.history(name),
    versions: versions.map(shown),
  }));
}

function unknownPlugin(name: string): ControlError {
  return new ControlError(404, "unknown_plugin", `There is no plugin ${name}.`);
}

const SAMPLE_TEXTS = ["method", "path", "query", "host", "consumer"] as const;

function toSample(body: Readonly<Record<string, unknown>>): PluginSample {
  const sample: Record<string, unknown> = {};
  const known = [...SAMPLE_TEXTS, "client_ip", "headers", "claims", "config"];
  for (const [key, value] of Object.entries(body)) {
    const isText = typeof value === "string";
    const wantsText = key === "client_ip" || SAMPLE_TEXTS.some((name) => name === key);
    const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
    if (!known.includes(key) || (wantsText ? !isText : !isMap)) {
      throw new ControlError(400, "bad_sample", `${key} is not a field of a sample request.`, {
        allowed: known,
      });
    }
    sample[key === "client_ip" ? "clientIp" : key] = value;
  }
  return sample;
}
