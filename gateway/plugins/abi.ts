// The plugin interface, version 1, as plugins import it from `extism:host/user`: what they may ask of
// a request and say about it. plugins-src/abi.md is the same for authors. Handles are Extism's: an
// i64, 0 for absent.

import type { Exchange } from "../exchange.ts";
import type { Guest, HostFunction, Signature } from "../../sandbox/sandbox.ts";
import { LATER } from "./abi-async.ts";
import { DECISION_LIMITS, type Decision } from "./decision.ts";
import type { Grants } from "./grants.ts";
import type { ResponseView } from "./phases.ts";

/** A module must export at least one of these. */
export const REQUIRED_EXPORTS: readonly string[] = ["on_request", "on_response"];

/** What plugins may ask of a request: all that a thread is given of it. */
export type AskedRequest = Pick<
  Exchange,
  | "method"
  | "path"
  | "query"
  | "host"
  | "scheme"
  | "clientIp"
  | "requestId"
  | "routeName"
  | "consumer"
  | "tls"
  | "params"
  | "claims"
  | "values"
  | "body"
  | "header"
>;

/** What they may ask of a response. */
export type AskedResponse = Pick<ResponseView, "status" | "header" | "values">;

/** What a call is about; one object per plugin, set before each call. */
export type CallContext = {
  /** null while the configuration is checked: then nothing can be asked. */
  exchange: AskedRequest | null;
  /** Set in the response phase only. */
  response: AskedResponse | null;
  readonly decision: Decision;
  readonly grants: Grants;
};

/** What no text of a decision but a body can exceed in UTF-8; Decision has the bounds in characters. */
const TEXT_BYTES_MAX = 3 * DECISION_LIMITS.headerValueBytesMax;
/** Fuel for each byte of a query that is taken apart. */
const QUERY_UNITS = 24;

type G = Guest<CallContext>;
type HostTable = Readonly<Record<string, HostFunction<CallContext>>>;

const READS: HostTable = {
  request_method: reader((exchange) => exchange.method),
  request_path: reader((exchange) => exchange.path),
  request_query: reader((exchange) => exchange.query),
  request_host: reader((exchange) => exchange.host),
  request_scheme: reader((exchange) => exchange.scheme),
  request_client_ip: reader((exchange) => exchange.clientIp),
  request_id: reader((exchange) => exchange.requestId),
  request_route: reader((exchange) => exchange.routeName),
  request_consumer: reader((exchange) => exchange.consumer),
  request_tls: namedReader((exchange, name) => tlsText(exchange, name)),
  request_query_param: namedReader((exchange, name, guest) => {
    guest.pay(exchange.query.length * QUERY_UNITS);
    return queryParameter(exchange.query, name);
  }),
  request_header: namedReader((exchange, name) => exchange.header(name.toLowerCase())),
  request_param: namedReader((exchange, name) => exchange.params?.get(name) ?? null),
  request_claim: namedReader((exchange, name) => claimText(exchange, name)),
  request_claim_json: namedReader((exchange, name) => claimJson(exchange, name)),
  request_body: {
    params: [],
    results: ["i64"],
    run: (guest: G) => {
      const { body } = exchangeOf(guest);
      const shown = body?.bytes.subarray(0, guest.context.grants.body ?? 0);
      return shown === undefined ? 0n : guest.writeBytes(shown);
    },
  },
  request_body_is_whole: {
    params: [],
    results: ["i32"],
    run: (guest: G) => {
      const { body } = exchangeOf(guest);
      const bytesMax = guest.context.grants.body;
      if (body === null || bytesMax === null) return 0;
      return body.whole && body.bytes.length <= bytesMax ? 1 : 0;
    },
  },
  value_get: namedReader((exchange, name) => exchange.values?.get(name) ?? null),
  response_status: {
    params: [],
    results: ["i32"],
    run: (guest: G) => guest.context.response?.status ?? 0,
  },
  response_header: {
    params: ["i64"],
    results: ["i64"],
    run: (guest: G, name: bigint) => {
      const known = guest.readName(name);
      const value =
        known === null ? null : (guest.context.response?.header(known.toLowerCase()) ?? null);
      return value === null ? 0n : guest.writeString(value);
    },
  },
  response_header_count: {
    params: ["i64"],
    results: ["i32"],
    run: (guest: G, name: bigint) => responseValues(guest, name).length,
  },
  response_header_at: {
    params: ["i64", "i32"],
    results: ["i64"],
    run: (guest: G, name: bigint, index: number) =>
      guest.writeString(responseValues(guest, name)[index] ?? ""),
  },
};

const WRITES: HostTable = {
  respond: {
    params: ["i32", "i64"],
    results: [],
    run: (guest: G, status: number, body: bigint) => {
      if (guest.context.response !== null) guest.fail("respond belongs to on_request");
      const text = guest.readString(body, DECISION_LIMITS.bodyBytesMax);
      check(guest, guest.context.decision.respond(status, text));
    },
  },
  respond_header: writer((decision, name, value) => decision.addHeader(name, value)),
  set_request_header: writer((decision, name, value) => decision.editRequest(name, value)),
  set_response_header: writer((decision, name, value) => decision.editResponse(name, value)),
  add_response_header: writer((decision, name, value) => decision.addToResponse(name, value)),
  value_set: writer((decision, name, value) => decision.setValue(name, value)),
  remove_request_header: nameWriter((decision, name) => decision.editRequest(name, null)),
  remove_response_header: nameWriter((decision, name) => decision.editResponse(name, null)),
  set_path: nameWriter((decision, path) => decision.setPath(path)),
  reason: {
    params: ["i64"],
    results: [],
    run: (guest: G, text: bigint) => {
      guest.context.decision.setReason(guest.readStart(text, DECISION_LIMITS.reasonCharsMax * 4));
    },
  },
};

/** Every function of the interface, by name. */
export const HOST_FUNCTIONS: ReadonlyMap<string, HostFunction<CallContext>> = new Map(
  Object.entries({ ...READS, ...WRITES, ...LATER }),
);

/** Their types alone, for the admission of modules. */
export const HOST_SIGNATURES: ReadonlyMap<string, Signature> = new Map(
  [...HOST_FUNCTIONS].map(([name, { params, results }]) => [name, { params, results }]),
);

function reader(read: (exchange: AskedRequest) => string | null): HostFunction<CallContext> {
  return {
    params: [],
    results: ["i64"],
    run: (guest: G) => {
      const value = read(exchangeOf(guest));
      return value === null ? 0n : guest.writeString(value);
    },
  };
}

function namedReader(
  read: (exchange: AskedRequest, name: string, guest: G) => string | null,
): HostFunction<CallContext> {
  return {
    params: ["i64"],
    results: ["i64"],
    run: (guest: G, name: bigint) => {
      const exchange = exchangeOf(guest);
      const known = guest.readName(name);
      const value = known === null ? null : read(exchange, known, guest);
      return value === null ? 0n : guest.writeString(value);
    },
  };
}

function writer(
  write: (decision: Decision, name: string, value: string) => string | null,
): HostFunction<CallContext> {
  return {
    params: ["i64", "i64"],
    results: [],
    run: (guest: G, name: bigint, value: bigint) => {
      const { decision } = guest.context;
      const known = guest.readString(name, TEXT_BYTES_MAX);
      check(guest, write(decision, known, guest.readString(value, TEXT_BYTES_MAX)));
    },
  };
}

function nameWriter(
  write: (decision: Decision, text: string) => string | null,
): HostFunction<CallContext> {
  return {
    params: ["i64"],
    results: [],
    run: (guest: G, text: bigint) => {
      check(guest, write(guest.context.decision, guest.readString(text, TEXT_BYTES_MAX)));
    },
  };
}

function check(guest: G, why: string | null): void {
  if (why !== null) guest.fail(why);
}

function exchangeOf(guest: G): AskedRequest {
  const { exchange } = guest.context;
  return exchange ?? guest.fail("there is no request while the configuration is checked");
}

// What the handshake said; of a client's certificate only what was verified.
function tlsText({ tls }: AskedRequest, name: string): string | null {
  if (tls === null) return null;
  switch (name) {
    case "version":
      return tls.version;
    case "cipher":
      return tls.cipher;
    case "server_name":
      return tls.serverName;
    case "client_subject":
      return tls.client?.subject ?? null;
    case "client_issuer":
      return tls.client?.issuer ?? null;
    case "client_serial":
      return tls.client?.serial ?? null;
    case "client_fingerprint":
      return tls.client?.fingerprint ?? null;
    case "client_san":
      return tls.client?.san ?? null;
    default:
      return null;
  }
}

function responseValues(guest: G, name: bigint): readonly string[] {
  const known = guest.readName(name);
  return known === null ? [] : (guest.context.response?.values(known.toLowerCase()) ?? []);
}

function claimText(exchange: AskedRequest, name: string): string | null {
  const { claims } = exchange;
  if (claims === null || !Object.hasOwn(claims, name)) return null;
  const value = claims[name];
  return typeof value === "string" ? value : JSON.stringify(value);
}

function claimJson({ claims }: AskedRequest, name: string): string | null {
  return claims === null || !Object.hasOwn(claims, name) ? null : JSON.stringify(claims[name]);
}

function queryParameter(query: string, name: string): string | null {
  return query === "" ? null : new URLSearchParams(query).get(name);
}
