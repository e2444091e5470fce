// Requests and decisions as people may see them: secrets are left out and long texts cut. What names itself
// a secret is one; for what does not, the operator names it.

import type { Difference } from "./compare.ts";
import type { DecisionData } from "./decision.ts";
import { plainWitnessed } from "./witness.ts";
import type { Said, Witnessed } from "./witness.ts";

const SECRET =
  /auth|cookie|token|secret|passw|session|api-?_?key|signature|credential|jwt|^(?:pwd|sig|key|code|pin|otp)$/i;
const CHARS_MAX = 256;
const NAMES_MAX = 64;
const HIDDEN = "(redacted)";

/** Which names are secrets, beside those that sound like it. */
export type Redaction = { isSecret(nameLower: string): boolean };

export const DEFAULT_REDACTION: Redaction = { isSecret: (name) => SECRET.test(name) };

/** With names of the operator's own; compared in lower case. */
export function redactionOf(names: readonly string[]): Redaction {
  const own = new Set(names.map((name) => name.toLowerCase()));
  return { isSecret: (name) => own.has(name) || SECRET.test(name) };
}

/** A request as it may be shown. */
export type ShownRequest = {
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly query: string;
  readonly clientIp: string;
  readonly consumer: string | null;
  readonly headers: Readonly<Record<string, string>>;
};

/** What a version said, as it may be shown. */
export type ShownSaid = {
  readonly action: "continue" | "respond" | "failed" | "none";
  readonly status: number | null;
  readonly reason: string;
  readonly path: string | null;
  readonly requestHeaders: Readonly<Record<string, string | null>>;
  readonly responseHeaders: Readonly<Record<string, string | null>>;
  readonly values: Readonly<Record<string, string | null>>;
};

/** One decision that two versions take differently. */
export type ShownDifference = {
  readonly atMs: number;
  readonly requestId: string;
  readonly route: string;
  readonly phase: Witnessed["phase"];
  readonly differs: readonly Difference[];
  readonly request: ShownRequest;
  readonly stable: ShownSaid;
  readonly candidate: ShownSaid;
};

/** A request without secrets. */
export function showRequest(
  { context: { request } }: Pick<Witnessed, "context">,
  redaction: Redaction,
): ShownRequest {
  return {
    method: request?.method ?? "",
    host: request?.host ?? "",
    path: cut(request?.path ?? ""),
    query: showQuery(request?.query ?? "", redaction),
    clientIp: request?.clientIp ?? "",
    consumer: request?.consumer ?? null,
    headers: showPairs([...(request?.headers ?? [])], redaction) as Record<string, string>,
  };
}

/** Two answers to one request, without secrets. */
export function showDifference(
  { atMs, phase, context, said }: Witnessed,
  candidate: Said | null,
  differs: readonly Difference[],
  redaction: Redaction,
): ShownDifference {
  const { request } = context;
  return {
    atMs,
    requestId: request?.requestId ?? "",
    route: request?.routeName ?? "",
    phase,
    differs,
    request: showRequest({ context }, redaction),
    stable: showSaid(said, redaction),
    candidate: showSaid(candidate, redaction),
  };
}

/** The same call without secrets, to be kept. Bodies are left out unless they are asked for. */
export function redactWitnessed(
  witnessed: Witnessed,
  redaction: Redaction,
  { body }: { readonly body: boolean },
): Witnessed {
  const { context, said } = witnessed;
  const { request, response } = context;
  const { isSecret } = redaction;
  const hidden = <T>(name: string, value: T) => (isSecret(name.toLowerCase()) ? HIDDEN : value);
  return {
    ...plainWitnessed(witnessed),
    context: {
      ...context,
      request: request && {
        ...request,
        query: redactQuery(request.query, redaction),
        headers: mapped(request.headers, hidden),
        claims:
          request.claims &&
          Object.fromEntries(
            Object.entries(request.claims).map(([name, value]) => [name, hidden(name, value)]),
          ),
        values: request.values && mapped(request.values, hidden),
        body: body ? request.body : null,
      },
      response: response && {
        ...response,
        headers: mapped(response.headers, (name, values) =>
          isSecret(name) ? values.map(() => HIDDEN) : values,
        ),
      },
    },
    said:
      said.kind === "failed" ? said : { ...said, decision: redactDecision(said.decision, hidden) },
  };
}

type Hide = <T>(name: string, value: T) => T | string;

function redactDecision(decision: DecisionData, hidden: Hide): DecisionData {
  const edit = ([name, value]: readonly [string, string | null]) =>
    [name, value === null ? null : hidden(name, value)] as const;
  return {
    ...decision,
    headers: decision.headers.map(edit),
    requestEdits: decision.requestEdits.map(edit),
    values: decision.values.map(edit),
    responseEdits: decision.responseEdits.map((each) => ({
      ...each,
      value: each.value === null ? null : hidden(each.name, each.value),
    })),
  };
}

function mapped<T, U>(map: ReadonlyMap<string, T>, to: (name: string, value: T) => U) {
  return new Map([...map].map(([name, value]) => [name, to(name, value)]));
}

/** What a version said, without secrets. */
export function showSaid(said: Said | null, redaction: Redaction): ShownSaid {
  const nothing = { requestHeaders: {}, responseHeaders: {}, values: {}, path: null, status: null };
  if (said === null) return { action: "none", reason: "", ...nothing };
  if (said.kind === "failed") {
    return { action: "failed", ...nothing, reason: cut(`${said.fault}: ${said.detail}`) };
  }
  const { status, reason, path, headers, requestEdits, responseEdits, values } = said.decision;
  const edits = responseEdits.map(({ name, value }) => [name, value] as const);
  return {
    action: status === 0 ? "continue" : "respond",
    status: status === 0 ? null : status,
    reason: cut(reason),
    path: path === null ? null : cut(path),
    requestHeaders: showPairs(requestEdits, redaction),
    responseHeaders: showPairs([...headers, ...edits], redaction),
    values: showPairs(values, redaction),
  };
}

function showPairs(
  pairs: readonly (readonly [name: string, value: string | null])[],
  { isSecret }: Redaction,
): Record<string, string | null> {
  const shown = Object.create(null) as Record<string, string | null>;
  for (const [name, value] of pairs.slice(0, NAMES_MAX)) {
    shown[name] = value === null ? null : isSecret(name.toLowerCase()) ? HIDDEN : cut(value);
  }
  return shown;
}

function showQuery(query: string, redaction: Redaction): string {
  return cut(redactQuery(query, redaction));
}

// Names as they are written: one that hides behind percent-encoding is decoded first, and the old
// separator counts too, as it does for some origins.
function redactQuery(query: string, { isSecret }: Redaction): string {
  const parts = query.split(/([&;])/).map((part) => {
    const at = part.indexOf("=");
    if (at === -1) return part;
    const name = part.slice(0, at);
    return isSecret(decoded(name).toLowerCase()) ? `${name}=${HIDDEN}` : part;
  });
  return parts.join("");
}

// Byte by byte: a bad escape elsewhere in the name must not keep the rest of it hidden.
function decoded(name: string): string {
  return name.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function cut(text: string): string {
  return text.length <= CHARS_MAX ? text : `${text.slice(0, CHARS_MAX)}...`;
}
