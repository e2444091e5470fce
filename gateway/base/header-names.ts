// Names of request headers that decide where a message ends, how it goes on and whom it is for.

/** Only the gateway writes these: a policy, a claim or a plugin's own request never does. */
export const FRAMING_HEADERS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "expect",
  "host",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
