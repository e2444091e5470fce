// The admin API for programs: where it is, with which key, and its refusals as errors that say what
// the API said. The CLI uses nothing else.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

const DEFAULT_URL = "http://127.0.0.1:9180";
const KEY_FILES = ["var", "/var/lib/sallyport"].map((directory) => join(directory, "admin.key"));
const TIMEOUT_MS = 60_000;

/** The API refused, or could not be reached (`status` 0). */
export class AdminError extends Error {
  readonly status: number;
  readonly code: string;
  readonly problem: Readonly<Record<string, unknown>>;

  constructor(
    status: number,
    code: string,
    message: string,
    problem: Record<string, unknown> = {},
  ) {
    super(message);
    this.status = status;
    this.code = code;
    this.problem = problem;
  }
}

export type AdminClientOptions = {
  readonly url?: string | undefined;
  readonly key?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
};

export type AdminAnswer<T> = {
  readonly status: number;
  readonly etag: string | null;
  readonly body: T;
};

export class AdminClient {
  readonly #url: string;
  readonly #key: string | null;

  constructor(url: string, key: string | null) {
    this.#url = url.replace(/\/+$/, "");
    this.#key = key;
  }

  /** Calls an operation; rejects with an AdminError for everything but success. */
  async call<T>(
    method: string,
    path: string,
    options: {
      readonly body?: string | Uint8Array;
      readonly ifMatch?: number;
      readonly headers?: Readonly<Record<string, string>>;
    } = {},
  ): Promise<AdminAnswer<T>> {
    const headers: Record<string, string> = { ...options.headers };
    if (this.#key !== null) headers["x-api-key"] = this.#key;
    if (options.ifMatch !== undefined) headers["if-match"] = `"${options.ifMatch}"`;
    let response: Response;
    try {
      response = await fetch(`${this.#url}${path}`, {
        method,
        headers,
        body: options.body as string | Uint8Array<ArrayBuffer> | undefined,
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      const cause =
        error instanceof Error && error.cause instanceof Error ? error.cause.message : "";
      throw new AdminError(
        0,
        "unreachable",
        `${this.#url} does not answer (${cause || String(error)}); is the gateway running? --admin URL says where`,
      );
    }
    const text = await response.text();
    const isJson = response.headers.get("content-type")?.includes("json") === true;
    const body: unknown = isJson ? JSON.parse(text) : text;
    if (!response.ok) throw refusal(response.status, body);
    return { status: response.status, etag: response.headers.get("etag"), body: body as T };
  }
}

/** A client for the gateway that the options, the environment or this host name. */
export async function connectAdmin(options: AdminClientOptions): Promise<AdminClient> {
  const url = options.url ?? options.env["SALLYPORT_ADMIN"] ?? DEFAULT_URL;
  const key = options.key ?? options.env["SALLYPORT_KEY"] ?? (await findKey());
  return new AdminClient(url, key);
}

async function findKey(): Promise<string | null> {
  for (const file of KEY_FILES) {
    const text = await readFile(file, "utf8").catch(() => null);
    if (text !== null) return text.trim();
  }
  return null;
}

function refusal(status: number, body: unknown): AdminError {
  if (typeof body !== "object" || body === null) {
    return new AdminError(status, "refused", `the admin API answered ${status}`);
  }
  const problem = body as Record<string, unknown>;
  return new AdminError(status, String(problem["code"]), String(problem["detail"]), problem);
}
