// The admin API's HTTP server: bounds every request, decides who may ask, dispatches by the table, and
// turns every refusal into a problem document. It carries no traffic of the gateway.

import http from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Log } from "../../gateway/base/log.ts";
import { AuditLog } from "./audit.ts";
import { Keyring, NOBODY, checkAccess, checkOrigin, hostsOf } from "./auth.ts";
import type { Holder, FirstKey } from "./auth.ts";
import { ControlError } from "./control.ts";
import type { Control } from "./control.ts";
import { openApi } from "./openapi.ts";
import { problemOf } from "./problem.ts";
import { flagOf, matchPath } from "./route.ts";
import type { ApiResponse, ApiRoute } from "./route.ts";
import { CONFIG_ROUTES } from "./routes/config.ts";
import { ENTITY_ROUTES } from "./routes/entities.ts";
import { PLUGIN_ROUTES } from "./routes/plugins.ts";
import { RECORDING_ROUTES } from "./routes/recordings.ts";
import { ROLLOUT_ROUTES } from "./routes/rollouts.ts";
import { STATUS_ROUTES } from "./routes/status.ts";

const CONNECTIONS_MAX = 256;
const REQUEST_MS = 120_000;
const HEADERS_MS = 10_000;
/** Bytes over the bound that are still read, and dropped, before the refusal is sent. */
const DROPPED_BYTES_MAX = 64 * 1024 * 1024;

/** Every operation but the OpenAPI document itself. */
export const API_ROUTES: readonly ApiRoute[] = [
  ...STATUS_ROUTES,
  ...PLUGIN_ROUTES,
  ...ROLLOUT_ROUTES,
  ...RECORDING_ROUTES,
  ...ENTITY_ROUTES,
  ...CONFIG_ROUTES,
];

export type AdminOptions = {
  readonly control: Control;
  readonly host: string;
  readonly port: number;
  readonly firstKey: FirstKey;
  readonly auditFile: string;
  readonly version: string;
  readonly log: Log;
};

export type AdminServer = {
  readonly address: string;
  readonly key: string;
  /** The key was made now. */
  readonly isKeyNew: boolean;
  close(): Promise<void>;
};

/** Starts the admin API; rejects when the address is taken or the key file is unsafe. */
export async function startAdminServer(options: AdminOptions): Promise<AdminServer> {
  const { key, isNew } = options.firstKey;
  const api = new AdminApi(options, key);
  const server = http.createServer(
    { requestTimeout: REQUEST_MS, headersTimeout: HEADERS_MS, maxHeaderSize: 16_384 },
    (request, response) => void api.serve(request, response),
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: options.host, port: options.port, exclusive: true }, resolve);
  });
  const bound = server.address() as AddressInfo;
  const host = bound.family === "IPv6" ? `[${bound.address}]` : bound.address;
  return {
    address: `${host}:${bound.port}`,
    key,
    isKeyNew: isNew,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), 1_000).unref();
      }),
  };
}

class AdminApi {
  readonly #options: AdminOptions;
  readonly #keys: Keyring;
  readonly #hosts: ReadonlySet<string>;
  readonly #audit: AuditLog;
  readonly #routes: readonly ApiRoute[];

  constructor(options: AdminOptions, key: string) {
    this.#options = options;
    this.#keys = new Keyring(options.control, key);
    this.#hosts = hostsOf(options.host);
    this.#audit = new AuditLog(options.auditFile);
    options.control.rollouts.onAutomatic = (facts) => this.#remember(facts);
    const document: ApiRoute = {
      method: "GET",
      path: "/admin/openapi.json",
      summary: "This document",
      role: "none",
      handle: () => ({ status: 200, body: openApi(this.#routes, options.version) }),
    };
    this.#routes = [...API_ROUTES, document];
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { log } = this.#options;
    try {
      send(response, await this.#answer(request));
    } catch (error) {
      if (!(error instanceof ControlError)) log.error("the admin API failed", { error });
      const problem = problemOf(error);
      send(response, {
        status: problem.status,
        body: problem,
        contentType: "application/problem+json",
      });
    }
  }

  async #answer(request: IncomingMessage): Promise<ApiResponse> {
    checkOrigin(request.headers, this.#hosts);
    const url = new URL(request.url ?? "/", "http://admin");
    const { route, params } = this.#find(request.method ?? "GET", url.pathname);
    const whose = () => (route.role === "none" ? NOBODY : this.#keys.holderOf(request.headers));
    const holder = whose();
    const task = async () => {
      checkAccess(holder, route.role);
      checkQuery(url.searchParams, route);
      const body = await readBody(request, route.body?.bytesMax ?? 0);
      // Once more: a body may take its time, and its key be removed meanwhile.
      checkAccess(whose(), route.role);
      return await route.handle({
        control: this.#options.control,
        params,
        query: url.searchParams,
        headers: request.headers,
        body,
        actor: holder.name,
        role: holder.role,
        ifMatch: ifMatchOf(request.headers["if-match"]),
        dryRun: flagOf(url.searchParams, "dry_run"),
      });
    };
    if (route.method === "GET") return await task();
    return await this.#audited({ holder, method: route.method, path: url.pathname }, task);
  }

  // A write that was refused is remembered too: with its code, for who asked has a key.
  async #audited(
    { holder, method, path }: { holder: Holder; method: string; path: string },
    task: () => Promise<ApiResponse>,
  ): Promise<ApiResponse> {
    const asked = { actor: holder.name, role: holder.role, method, path };
    try {
      const answer = await task();
      const { status, audit } = answer;
      await this.#audit.append({ ...asked, status, ...audit });
      return answer;
    } catch (error) {
      const { status, code } = problemOf(error);
      await this.#audit.append({ ...asked, status, code });
      throw error;
    }
  }

  // What the gateway does by itself to what somebody has asked for.
  #remember(facts: Parameters<Control["rollouts"]["onAutomatic"]>[0]): void {
    const { route, plugin } = facts;
    const path = `/admin/routes/${String(route)}/rollouts/${String(plugin)}`;
    const entry = { actor: "gateway", role: "none", method: "", path, status: 200, ...facts };
    this.#audit.append(entry).catch((error: unknown) => {
      this.#options.log.error("the audit log cannot be written", { error });
    });
  }

  #find(method: string, path: string): { route: ApiRoute; params: Record<string, string> } {
    const allowed: string[] = [];
    for (const route of this.#routes) {
      const params = matchPath(route.path, path);
      if (params === null) continue;
      if (route.method === method) return { route, params };
      allowed.push(route.method);
    }
    if (allowed.length > 0) {
      const detail = `${path} answers to ${allowed.join(", ")}.`;
      throw new ControlError(405, "method_not_allowed", detail, { allowed });
    }
    throw new ControlError(404, "unknown_path", `There is no ${path}; see /admin/openapi.json.`);
  }
}

// A misspelt parameter would otherwise be ignored: ?dryrun=true would write.
function checkQuery(query: URLSearchParams, route: ApiRoute): void {
  for (const name of query.keys()) {
    if (route.query?.includes(name) === true) continue;
    const known = route.query?.join(", ") ?? "none";
    throw new ControlError(400, "unknown_parameter", `${name} is not a parameter here: ${known}.`);
  }
}

function ifMatchOf(field: string | undefined): number | null {
  if (field === undefined) return null;
  const match = /^(?:W\/)?"?(\d{1,15})"?$/.exec(field);
  if (match === null) {
    throw new ControlError(400, "bad_if_match", 'If-Match is the revision, for example "7".');
  }
  return Number(match[1]);
}

// What is too large is read to its end all the same, up to a bound: a connection that is closed while
// its client still sends is reset, and the reset would take the refusal with it.
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax + DROPPED_BYTES_MAX) break;
    if (bytes <= bytesMax) chunks.push(chunk);
  }
  if (bytes <= bytesMax) return Buffer.concat(chunks);
  const detail = `The body is larger than the ${bytesMax} bytes allowed.`;
  throw new ControlError(413, "too_large", detail);
}

function send(response: ServerResponse, answer: ApiResponse): void {
  if (response.headersSent || response.destroyed) return;
  const isText = answer.text !== undefined;
  const fallback = isText ? "text/plain; charset=utf-8" : "application/json";
  const content = answer.text ?? `${JSON.stringify(answer.body, null, 2)}\n`;
  response.writeHead(answer.status, {
    "content-type": answer.contentType ?? fallback,
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...answer.headers,
  });
  response.end(content);
}
