// What we forward parses back to what was understood: one message, with the same method, path,
// query, host and framing, and with the fields that may cross, in their order. What may cross is
// said here once more, by name and from the RFC, and read from llhttp's view of the request.

import type { Exchange } from "../../gateway/exchange.ts";
import { buildRequestHead } from "../../gateway/http/hygiene.ts";
import { normalizeHost, normalizeTarget } from "../../gateway/routing/normalize.ts";
import { RequestHead, parseRequestHead } from "../../gateway/wire/request-head.ts";
import type { Chance } from "../support/chance.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { Finding } from "./fuzzing.ts";
import type { Counts, Fuzzer } from "./fuzzing.ts";
import { Grammar } from "./grammar.ts";
import { accept, headOf } from "./wire.ts";

const INPUTS_PER_ROUND = 10_000;
const INPUTS_PER_LOOK = 200;
const ORIGIN_ADDRESS = "192.0.2.9:8080";

/** Written by the gateway, each exactly once. */
const OURS = [
  ...["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"],
  ...["x-request-id", "traceparent"],
];
/** Of one connection, or replaced: never copied (RFC 9110, 7.6.1). */
const NOT_COPIED: ReadonlySet<string> = new Set([
  ...OURS,
  ...["content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection"],
  ...["proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade", "http2-settings"],
  ...["expect", "x-forwarded-port", "x-forwarded-client-cert", "x-real-ip"],
]);
/** A client must not take these from a request that policies have seen. */
const NOT_NOMINATED: ReadonlySet<string> = new Set([
  ...["authorization", "content-type", "cookie", "date", "set-cookie", "x-api-key"],
]);
/** What a policy may set or remove. */
const EDITED = [
  "x-a",
  "x-b",
  "cookie",
  "accept",
  "authorization",
  "x-new",
  "date",
  "forwarded",
  "traceparent",
];
const FRAMING = ["content-length", "transfer-encoding", "connection", "upgrade"];

type Field = readonly [nameLower: string, value: string];

export function roundTrip(name: string): Fuzzer {
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      const counts = { inputs: 0, forwarded: 0, edited: 0 };
      const grammar = new Grammar(chance);
      using reader = new LlhttpReader({ kind: "request" });
      while (counts.inputs < INPUTS_PER_ROUND) {
        if (counts.inputs % INPUTS_PER_LOOK === 0 && performance.now() > deadlineMs) break;
        counts.inputs++;
        const text = headOf(grammar.mutate(grammar.requestHead()));
        const accepted = text === null ? null : accept(text, parseRequestHead);
        if (text === null || accepted === null) continue;
        counts.forwarded++;
        const { exchange } = accepted;
        const { authority, forwardedFor } = exchange;
        const { head } = exchange;
        if (chance.oneIn(3) && edit(exchange, chance)) counts.edited++;
        const sent = buildRequestHead(exchange, {
          host: authority === "" ? ORIGIN_ADDRESS : authority,
          forwardedFor,
          forwardedHost: authority,
          contentLength: head.contentLength,
          chunked: head.chunked,
          websocket: head.websocket,
          trailers: false,
        });
        const asked = reader.read(text).messages[0];
        const seen = reader.read(sent);
        const [message] = seen.messages;
        if (message === undefined) throw new Finding(`llhttp refuses ${sent}`, text);
        try {
          if (seen.messages.length !== 1) throw new Error("more than one message");
          checkLine(exchange, message);
          checkFraming(head, message, sent);
          checkFields(exchange, asked, message);
        } catch (error) {
          throw new Finding(`${(error as Error).message}, forwarded as ${sent}`, text);
        }
      }
      return counts;
    },
  };
}

function edit(exchange: Exchange, chance: Chance): boolean {
  for (const name of chance.some(EDITED)) {
    exchange.editRequestHeader(name, chance.oneIn(2) ? null : chance.pick(["", "1", "\x80 x"]));
  }
  return true;
}

function checkLine(exchange: Exchange, message: ReadMessage): void {
  const { path, query } = normalForm(message);
  mustBe("method", message.method, exchange.method);
  mustBe("path", path, exchange.path);
  mustBe("query", query, exchange.query);
  mustBe("target", message.target, query === "" ? path : `${path}?${query}`);
  mustBe("version", message.minor, 1);
  const host = message.get("host") ?? "";
  mustBe("host", normalizeHost(host), exchange.host === "" ? "192.0.2.9" : exchange.host);
}

// The asterisk asks about the server (RFC 9112, 3.2.4), and is its own normal form.
export function normalForm({ method, target }: Pick<ReadMessage, "method" | "target">): {
  path: string;
  query: string;
} {
  if (method === "OPTIONS" && target === "*") return { path: "*", query: "" };
  return normalizeTarget(target) ?? { path: "", query: "" };
}

// By our parser, which the origin's would have to agree with (the request-heads fuzzer).
function checkFraming(head: RequestHead, message: ReadMessage, sent: string): void {
  const again = parseRequestHead(sent);
  if (!(again instanceof RequestHead)) throw new Error(`we refuse our own: ${again}`);
  mustBe("chunked", again.chunked, head.chunked);
  if (!head.websocket) mustBe("length", again.contentLength, head.contentLength);
  mustBe("websocket", again.websocket, head.websocket);
  mustBe("body", !message.complete, head.hasBody);
}

function checkFields(exchange: Exchange, asked: ReadMessage, message: ReadMessage): void {
  const edits = exchange.requestEdits ?? new Map<string, string | null>();
  const nominated = new Set<string>();
  for (const [name, value] of pairs(asked)) {
    if (name !== "connection") continue;
    for (const option of value.toLowerCase().split(/[ \t]*,[ \t]*/)) nominated.add(option);
  }
  const isNominated = (name: string) => nominated.has(name) && !NOT_NOMINATED.has(name);
  const expected = pairs(asked).filter(
    ([name]) =>
      !NOT_COPIED.has(name) && !name.includes("_") && !edits.has(name) && !isNominated(name),
  );
  const kept: Field[] = [];
  const times = new Map<string, number>();
  for (const [name, value] of pairs(message)) {
    times.set(name, (times.get(name) ?? 0) + 1);
    if (edits.has(name)) mustBe(`edit of ${name}`, value, edits.get(name) ?? null);
    else if (!OURS.includes(name) && !FRAMING.includes(name)) kept.push([name, value]);
  }
  mustBe("fields", JSON.stringify(kept), JSON.stringify(expected));
  for (const name of OURS) {
    if (!edits.has(name)) mustBe(`count of ${name}`, times.get(name) ?? 0, 1);
  }
  for (const name of FRAMING) mustBe(`repeated ${name}`, (times.get(name) ?? 0) > 1, false);
  for (const [name, value] of edits) {
    mustBe(`count of ${name}`, times.get(name) ?? 0, value === null ? 0 : 1);
  }
}

function pairs({ fields }: ReadMessage): Field[] {
  const list: Field[] = [];
  for (let i = 0; i < fields.length; i += 2) list.push([fields[i].toLowerCase(), fields[i + 1]]);
  return list;
}

function mustBe(what: string, got: unknown, expected: unknown): void {
  if (got !== expected) throw new Error(`${what} is ${String(got)}, not ${String(expected)}`);
}
