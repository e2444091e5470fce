// One operation of the admin API as data: the server dispatches by it, the OpenAPI document and the
// tests are made from it, so that none of them can know another set of operations.

import type { IncomingHttpHeaders } from "node:http";
import type { Access } from "../../gateway/config/admin-keys.ts";
import { ControlError } from "./control.ts";
import type { Control } from "./control.ts";

/** What a handler gets: everything is already bounded and decoded. */
export type ApiRequest = {
  readonly control: Control;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Who asks, for revisions and the audit log. */
  readonly actor: string;
  readonly role: Access;
  /** Revision of If-Match, or null. */
  readonly ifMatch: number | null;
  readonly dryRun: boolean;
};

export type ApiResponse = {
  readonly status: number;
  /** Sent as JSON, unless `text` is given. */
  readonly body?: unknown;
  /** Sent as it is. */
  readonly text?: string | Uint8Array;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What the audit log remembers of a write. */
  readonly audit?: Readonly<Record<string, unknown>>;
};

export type ApiRoute = {
  readonly method: "GET" | "PUT" | "POST" | "PATCH" | "DELETE";
  /** OpenAPI's form: /admin/plugins/{name}. */
  readonly path: string;
  readonly summary: string;
  /** What the key of who asks must allow; "none": answers without a key. */
  readonly role: Access;
  readonly body?: { readonly bytesMax: number; readonly type: string };
  readonly query?: readonly string[];
  handle(request: ApiRequest): Promise<ApiResponse> | ApiResponse;
};

/** True for `?name`, `?name=true`; throws a ControlError for anything but true and false. */
export function flagOf(query: URLSearchParams, name: string): boolean {
  const text = query.get(name);
  if (text === null || text === "false") return false;
  if (text === "true" || text === "") return true;
  throw new ControlError(400, "bad_parameter", `${name} is true or false.`);
}

/** The parameters of a path, or null when it is not this route's. */
export function matchPath(pattern: string, path: string): Record<string, string> | null {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return null;
  const params: Record<string, string> = {};
  for (const [i, part] of wanted.entries()) {
    if (part.startsWith("{")) {
      const value = decode(given[i]);
      if (value === null || value === "") return null;
      params[part.slice(1, -1)] = value;
    } else if (part !== given[i]) {
      return null;
    }
  }
  return params;
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
