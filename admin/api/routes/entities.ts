// Routes, upstreams, listeners, certificates and consumers, each as a resource of its own: a write is an edit of the
// whole configuration, checked whole, and answers with its revision.

import { MASK, maskSecrets } from "../../../gateway/config/secrets.ts";
import type { Config } from "../../../gateway/config/schema.ts";
import { LIMITS } from "../../../gateway/base/limits.ts";
import { ControlError } from "../control.ts";
import type { ApplyOptions } from "../control.ts";
import { jsonBody } from "../json-body.ts";
import type { ApiRequest, ApiResponse, ApiRoute } from "../route.ts";

const KINDS = ["routes", "upstreams", "listeners", "certificates", "consumers"] as const;
type Kind = (typeof KINDS)[number];
type Entity = { readonly name: string };

const BODY = { bytesMax: LIMITS.adminBodyBytesMax, type: "application/json" };
const WRITE_QUERY = ["dry_run"];

export const ENTITY_ROUTES: readonly ApiRoute[] = KINDS.flatMap((kind): ApiRoute[] => {
  const path = `/admin/${kind}/{name}`;
  const one = kind.slice(0, -1);
  return [
    {
      method: "GET",
      path: `/admin/${kind}`,
      summary: `All ${kind}`,
      role: "read",
      handle: ({ control }) =>
        withRevision(control.config().revision, shownList(control.config().config, kind)),
    },
    {
      method: "GET",
      path,
      summary: `One ${one}`,
      role: "read",
      handle: ({ control, params }) => {
        const { revision, config } = control.config();
        const found = shownList(config, kind).find(({ name }) => name === params["name"]);
        if (found === undefined) throw unknown(one, params["name"]);
        return withRevision(revision, found);
      },
    },
    {
      method: "PUT",
      path,
      summary: `Creates or replaces a ${one}`,
      role: "admin",
      body: BODY,
      query: WRITE_QUERY,
      handle: (request) => {
        const entity = { name: request.params["name"], ...jsonBody(request.body) };
        checkName(entity, request);
        return write(request, kind, (list) => replace(list, entity));
      },
    },
    {
      method: "PATCH",
      path,
      summary: `Merges into a ${one} (RFC 7396)`,
      role: "admin",
      body: { ...BODY, type: "application/merge-patch+json" },
      query: WRITE_QUERY,
      handle: (request) => {
        const patch = jsonBody(request.body);
        return write(request, kind, (list) => {
          const found = list.find(({ name }) => name === request.params["name"]);
          if (found === undefined) throw unknown(one, request.params["name"]);
          const merged = mergePatch(found, patch) as Entity;
          checkName(merged, request);
          return replace(list, merged);
        });
      },
    },
    {
      method: "DELETE",
      path,
      summary: `Removes a ${one}`,
      role: "admin",
      query: WRITE_QUERY,
      handle: (request) =>
        write(request, kind, (list) => {
          const rest = list.filter(({ name }) => name !== request.params["name"]);
          if (rest.length === list.length) throw unknown(one, request.params["name"]);
          return rest;
        }),
    },
  ];
});

/** What every write of the configuration is asked with. */
export function applyOptions(
  { actor, ifMatch, dryRun }: ApiRequest,
  message: string,
): ApplyOptions {
  return { actor, ifMatch, dryRun, message };
}

/** Refuses a document in which a shown mask came back as if it were the secret. */
export function refuseMask(value: unknown): void {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (!text.includes(MASK)) return;
  throw new ControlError(
    422,
    "masked_secret",
    `${MASK} stands for a secret that is not shown; send the secret or a reference to it.`,
  );
}

async function write(
  request: ApiRequest,
  kind: Kind,
  change: (list: readonly Entity[]) => readonly Entity[],
): Promise<ApiResponse> {
  const name = request.params["name"];
  const message = `${request.dryRun ? "" : "change "}${kind}/${name}`;
  let created = false;
  const result = await request.control.edit(
    (config) => {
      const list: readonly Entity[] = config[kind] ?? [];
      const changed = change(list);
      created = changed.length > list.length;
      return { ...config, [kind]: changed } as Config;
    },
    applyOptions(request, message),
  );
  const { revision, changed, diff, tookMs } = result;
  return {
    status: created && !request.dryRun ? 201 : 200,
    body: { revision, changed, dry_run: request.dryRun, diff, took_ms: tookMs },
    headers: { etag: `"${revision}"` },
    audit: { revision, dry_run: request.dryRun, diff },
  };
}

function withRevision(revision: number, body: unknown): ApiResponse {
  return { status: 200, body, headers: { etag: `"${revision}"` } };
}

function shownList(config: Config, kind: Kind): readonly Entity[] {
  return maskSecrets(config)[kind] ?? [];
}

function checkName(entity: Entity, request: ApiRequest): void {
  refuseMask(entity);
  if (entity.name === request.params["name"]) return;
  throw new ControlError(422, "name_differs", "The name in the body is not the one in the path.");
}

function replace(list: readonly Entity[], entity: Entity): readonly Entity[] {
  const at = list.findIndex(({ name }) => name === entity.name);
  return at === -1 ? [...list, entity] : list.with(at, entity);
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const isMap = typeof target === "object" && target !== null && !Array.isArray(target);
  const merged = new Map<string, unknown>(isMap ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}

function unknown(one: string, name: string): ControlError {
  return new ControlError(404, `unknown_${one}`, `There is no ${one} ${name}.`);
}
