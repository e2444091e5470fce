// The one table of what can go wrong on the data path and in the admin API. A code is API: it
// appears in problem documents, logs and metrics, and never changes its meaning. The cause and the
// detail of an error are for the log; only `say` is sent to a client.

/** Facts about an error code: the status sent, who is at fault, and whether another try may help. */
export type ErrorFacts = {
  readonly status: number;
  readonly blame: "client" | "upstream" | "plugin" | "operator" | "gateway";
  /** `if-unsent`: only when no byte of the request can have been acted on by the origin. */
  readonly retry: "never" | "if-unsent" | "always";
  /** One public sentence. */
  readonly say: string;
};

export const ERRORS = {
  // The client's request.
  BAD_REQUEST: client(400, "The request is malformed."),
  BAD_HEAD: client(400, "The request head is malformed."),
  BAD_HOST: client(400, "Exactly one valid Host header is required."),
  BAD_FRAMING: client(400, "The request body's framing is ambiguous or malformed."),
  BAD_TARGET: client(400, "The request target is malformed."),
  BAD_CHUNK: client(400, "The chunked request body is malformed."),
  UNAUTHORIZED: client(401, "Valid credentials are required."),
  FORBIDDEN: client(403, "The request is not allowed."),
  NO_ROUTE: client(404, "No route matches this request."),
  METHOD_NOT_ALLOWED: client(405, "The method is not allowed here."),
  REQUEST_TIMEOUT: client(408, "The request did not arrive in time."),
  BODY_TOO_LARGE: client(413, "The request body is too large."),
  TARGET_TOO_LONG: client(414, "The request target is too long."),
  EXPECTATION_FAILED: client(417, "The expectation cannot be met."),
  UPGRADE_REQUIRED: client(426, "This version of the protocol is not supported."),
  RATE_LIMITED: client(429, "Too many requests."),
  HEAD_TOO_LARGE: client(431, "The request head is too large."),
  UNKNOWN_TRANSFER_CODING: client(501, "The transfer coding is not supported."),
  METHOD_NOT_SUPPORTED: client(501, "The method is not supported."),
  VERSION_NOT_SUPPORTED: client(505, "The HTTP version is not supported."),
  // The upstream's part.
  UPSTREAM_CONNECT: upstream(502, "if-unsent", "The upstream could not be reached."),
  UPSTREAM_RESET: upstream(502, "if-unsent", "The upstream closed the connection."),
  UPSTREAM_BAD_RESPONSE: upstream(502, "never", "The upstream's response is malformed."),
  UPSTREAM_CUT: upstream(502, "never", "The upstream's response ended early."),
  UPSTREAM_NO_TARGET: upstream(503, "never", "No upstream target is available."),
  UPSTREAM_BUSY: upstream(503, "never", "The upstream's connections are all in use."),
  UPSTREAM_TIMEOUT: upstream(504, "never", "The upstream did not answer in time."),
  ROUTE_TIMEOUT: upstream(504, "never", "The request took longer than the route allows."),
  // Plugins. A denial by a plugin is not an error: these are failures of the plugin itself.
  PLUGIN_UNAVAILABLE: plugin(503, "A policy could not be loaded."),
  PLUGIN_FAILED: plugin(500, "A policy failed."),
  PLUGIN_DEADLINE: plugin(504, "A policy took too long."),
  PLUGIN_QUARANTINED: plugin(503, "A policy fails too often and was set aside."),
  PLUGIN_BAD_OUTPUT: plugin(500, "A policy gave an invalid decision."),
  // The gateway itself.
  INTERNAL: gateway(500, "The gateway failed."),
  DRAINING: gateway(503, "The gateway is shutting down."),
  OVERLOADED: gateway(503, "The gateway is at its limits."),
} as const satisfies Record<string, ErrorFacts>;

/** How a call of an uploaded plugin fails: what its operator is told, in logs and metrics. */
export const CALL_FAULTS = [
  "deadline",
  "async_timeout",
  "stack",
  "trap",
  "guest_error",
  "bad_output",
  "host_denied",
  "host_error",
  "kernel_memory",
  "pool_exhausted",
  "quarantined",
] as const;
export type CallFault = (typeof CALL_FAULTS)[number];

/** A stable error code of the data path. */
export type ErrorCode = keyof typeof ERRORS;

/** An operating failure with a code of the table. `message` and `cause` go to the log only. */
export class GatewayError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail: string, cause?: unknown) {
    super(detail, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** True for a code of the table. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

/** True for an error made by the gateway; compares the code, so that two copies of this file agree. */
export function isGatewayError(error: unknown): error is GatewayError {
  return error instanceof Error && "code" in error && isErrorCode(String(error.code));
}

function client(status: number, say: string): ErrorFacts {
  return { status, blame: "client", retry: "never", say };
}

function upstream(status: number, retry: ErrorFacts["retry"], say: string): ErrorFacts {
  return { status, blame: "upstream", retry, say };
}

function plugin(status: number, say: string): ErrorFacts {
  return { status, blame: "plugin", retry: "never", say };
}

function gateway(status: number, say: string): ErrorFacts {
  return { status, blame: "gateway", retry: "never", say };
}
