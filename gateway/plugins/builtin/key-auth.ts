// API keys: a header or a query parameter, looked up by its SHA-256, so that neither the
// configuration nor a heap dump holds a usable key. No key, two keys or an unknown one is a 401;
// nothing but the key itself is ever taken from the request to the origin.

import { createHash } from "node:crypto";
import type { Exchange } from "../../exchange.ts";
import type { Builtin, Plugin, PluginServices } from "../phases.ts";
import { problem } from "../problem.ts";
import type { Verdict } from "../verdict.ts";
import { SEVERAL, findHeader, findQuery, hideQuery } from "./credentials.ts";

const KEY_CHARS_MAX = 1024;
// A 401 must carry a challenge (RFC 9110, 11.6.1); no scheme is registered for API keys.
const CHALLENGE = [["www-authenticate", 'ApiKey realm="gateway"']] as const;

type KeyAuthConfig = {
  readonly header?: string;
  readonly query?: string;
  readonly hide?: boolean;
};

/** The `key-auth` plugin: sets the exchange's consumer, or answers 401. */
export const keyAuth: Builtin = { name: "key-auth", create };

function create(config: Readonly<Record<string, unknown>>, services: PluginServices): Plugin {
  const given = config as KeyAuthConfig;
  const header = (given.header ?? "x-api-key").toLowerCase();
  const query = given.query ?? null;
  const hide = given.hide ?? true;
  return {
    name: "key-auth",
    version: "builtin",
    onRequest(exchange) {
      const fromHeader = findHeader(exchange, header);
      const fromQuery = query === null ? null : findQuery(exchange.query, query);
      if (hide) {
        if (fromHeader !== null) exchange.editRequestHeader(header, null);
        if (query !== null && fromQuery !== null) exchange.query = hideQuery(exchange.query, query);
      }
      if (fromHeader === SEVERAL || fromQuery === SEVERAL) return refuse(exchange, "several keys");
      if (fromHeader !== null && fromQuery !== null) return refuse(exchange, "several keys");
      // A header's characters are bytes; a decoded parameter is text.
      const key =
        fromHeader !== null
          ? Buffer.from(fromHeader, "latin1")
          : fromQuery !== null
            ? Buffer.from(fromQuery, "utf8")
            : null;
      if (key === null || key.length === 0) return refuse(exchange, "no key");
      if (key.length > KEY_CHARS_MAX) return refuse(exchange, "unknown key");
      const digest = createHash("sha256").update(key).digest("hex");
      const consumer = services.consumersByKeyHash.get(digest);
      if (consumer === undefined) return refuse(exchange, "unknown key");
      exchange.consumer = consumer;
      return null;
    },
    onResponse: null,
    close() {},
  };
}

function refuse(exchange: Exchange, why: string): Verdict {
  return {
    kind: "respond",
    response: problem("UNAUTHORIZED", exchange.requestId, CHALLENGE),
    reason: `key-auth: ${why}`,
  };
}
