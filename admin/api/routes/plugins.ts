// Uploaded plugins: their versions, which one is current, and the one-line upload.

import { LIMITS } from "../../../gateway/base/limits.ts";
import { ControlError } from "../control.ts";
import type { Control, PluginSample, PluginVersionInfo } from "../control.ts";
import { jsonBody } from "../json-body.ts";
import type { ApiRequest, ApiResponse, ApiRoute } from "../route.ts";

const MODULE = { bytesMax: LIMITS.pluginBytesMax, type: "application/wasm" };
const SMALL_JSON = { bytesMax: 1024 * 1024, type: "application/json" };

export const PLUGIN_ROUTES: readonly ApiRoute[] = [
  {
    method: "POST",
    path: "/admin/plugins/load",
    summary: "Stores a module as the next version, makes it current; live on return",
    key: "needed",
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
    key: "needed",
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
    summary: "All plugins with their versions",
    key: "needed",
    handle: ({ control }) => ({ status: 200, body: grouped(control) }),
  },
  {
    method: "GET",
    path: "/admin/plugins/{name}",
    summary: "One plugin with its versions",
    key: "needed",
    handle: ({ control, params }) => {
      const found = grouped(control).find(({ name }) => name === params["name"]);
      if (found === undefined) throw unknownPlugin(params["name"]);
      return { status: 200, body: found };
    },
  },
  {
    method: "GET",
    path: "/admin/plugins/{name}/versions/{version}",
    summary: "One version",
    key: "needed",
    handle: ({ control, params: { name, version } }) => {
      const found = control.plugins
        .list()
        .find((each) => each.name === name && each.version === version);
      if (found === undefined) throw unknownPlugin(`${name}@${version}`);
      return { status: 200, body: shown(found) };
    },
  },
  {
    method: "DELETE",
    path: "/admin/plugins/{name}/versions/{version}",
    summary: "Removes a version that no route uses",
    key: "needed",
    handle: async ({ control, params: { name, version } }) => {
      await control.plugins.remove(name, version);
      return { status: 200, body: { name, version, removed: true } };
    },
  },
  {
    method: "PUT",
    path: "/admin/plugins/{name}/current",
    summary: "Makes a stored version the one that attachments without a version follow",
    key: "needed",
    body: SMALL_JSON,
    handle: async ({ control, params: { name }, body }) => {
      const { version } = jsonBody(body);
      if (typeof version !== "string") {
        throw new ControlError(400, "bad_request", 'The body is {"version": "1.2.0"}.');
      }
      const { from, to } = await control.plugins.setCurrent(name, version);
      return { status: 200, body: { name, from, to }, audit: { from, to } };
    },
  },
  {
    method: "POST",
    path: "/admin/plugins/{name}/versions/{version}/test",
    summary: "Runs a version on a sample request and tells its decision; changes nothing",
    key: "needed",
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
  const sha256 = headers["x-plugin-sha256"];
  if (body.length === 0) {
    throw new ControlError(400, "empty_body", "The body is the module: --data-binary @plugin.wasm");
  }
  const result = await control.plugins.load({
    ...wanted,
    bytes: body,
    sha256: typeof sha256 === "string" ? sha256.toLowerCase() : null,
    actor,
  });
  const { created, tookMs, limits } = result;
  return {
    status: created ? 201 : 200,
    body: { ...shown(result), created, took_ms: tookMs, limits: shownLimits(limits) },
    audit: { plugin: `${result.name}@${result.version}`, digest: result.digest },
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
  const { sizeBytes, createdAt, setAside } = info;
  return {
    name,
    version,
    digest,
    size_bytes: sizeBytes,
    abi,
    exports,
    created_at: createdAt,
    current,
    set_aside: setAside,
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

function grouped(control: Control): ShownPlugin[] {
  const byName = Map.groupBy(control.plugins.list(), ({ name }) => name);
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
