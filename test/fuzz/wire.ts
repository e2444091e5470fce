// Our parsers against llhttp's strict one, a hundred thousand messages a second. What ours take,
// llhttp must take as well and read the same: then whatever it refuses is refused, and nobody behind
// us sees another message than we did.

import { IdSource } from "../../gateway/base/ids.ts";
import { acceptRequest } from "../../gateway/http/accept.ts";
import type { Accepted } from "../../gateway/http/accept.ts";
import type { Downstream } from "../../gateway/http/downstream.ts";
import type { Snapshot } from "../../gateway/http/snapshot.ts";
import { ChunkedDecoder } from "../../gateway/wire/chunked.ts";
import { STRIDE } from "../../gateway/wire/fields.ts";
import type { FieldList } from "../../gateway/wire/fields.ts";
import {
  RequestHead,
  isHopelessPrefix,
  parseRequestHead,
} from "../../gateway/wire/request-head.ts";
import { parseResponseHead } from "../../gateway/wire/response-head.ts";
import type { ResponseHead } from "../../gateway/wire/response-head.ts";
import type { Chance } from "../support/chance.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { Finding } from "./fuzzing.ts";
import type { Counts, Fuzzer } from "./fuzzing.ts";
import { Grammar } from "./grammar.ts";

const INPUTS_PER_ROUND = 20_000;
/** A look at the clock each so many inputs. */
const INPUTS_PER_LOOK = 200;

const CHUNKED_HEAD = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

export type ParseRequest = typeof parseRequestHead;

/** A fuzzer that judges one text after another. */
function textFuzzer(name: string, begin: (chance: Chance) => (counts: TextCounts) => void): Fuzzer {
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      const judge = begin(chance);
      const counts = { inputs: 0, "taken by both": 0, "refused by us": 0, "without end": 0 };
      while (counts.inputs < INPUTS_PER_ROUND) {
        if (counts.inputs % INPUTS_PER_LOOK === 0 && performance.now() > deadlineMs) break;
        counts.inputs++;
        judge(counts);
      }
      return counts;
    },
  };
}

type TextCounts = { "taken by both": number; "refused by us": number; "without end": number };

/** Heads of requests: the whole way from text to an accepted request. */
export function requestHeads(name: string, parse: ParseRequest = parseRequestHead): Fuzzer {
  const reader = new LlhttpReader({ kind: "request" });
  return textFuzzer(name, (chance) => {
    const grammar = new Grammar(chance);
    return (counts) => {
      const text = grammar.mutate(grammar.requestHead());
      const whole = headOf(text);
      if (whole === null) {
        counts["without end"]++;
        return;
      }
      const accepted = accept(whole, parse);
      if (accepted === null) {
        counts["refused by us"]++;
        return;
      }
      const ours = accepted.exchange.head;
      counts["taken by both"]++;
      const theirs = reader.read(whole).messages[0];
      if (theirs === undefined) throw new Finding(`llhttp refuses it: ${reader.fault}`, whole);
      compareHeads(ours, theirs, whole);
      mustAgree("method", [ours.method, theirs.method], whole);
      mustAgree("target", [ours.target, theirs.target], whole);
      // Alone, a head is the whole message exactly when no body follows it.
      mustAgree("body", [ours.hasBody, !theirs.complete], whole);
      if (isHopelessPrefix(Buffer.from(whole, "latin1"), 0)) {
        throw new Finding("a head that is taken is hopeless while it arrives", whole);
      }
    };
  });
}

/** Chunked bodies, as they came and cut into pieces. */
export function chunkedBodies(name: string): Fuzzer {
  const reader = new LlhttpReader({ kind: "request" });
  const bodyOf = (body: string) => {
    const message = reader.read(CHUNKED_HEAD + body).messages[0];
    return message?.complete === true ? message.body : null;
  };
  return textFuzzer(name, (chance) => {
    const grammar = new Grammar(chance);
    return (counts) => {
      const text = grammar.mutate(grammar.chunkedBody());
      const ours = decode([text]);
      const cut = chance.below(text.length + 1);
      const inPieces = decode([text.slice(0, cut), text.slice(cut)]);
      mustAgree("pieces", [JSON.stringify(ours), JSON.stringify(inPieces)], text);
      if (ours === null) {
        counts["refused by us"]++;
        return;
      }
      counts["taken by both"]++;
      mustAgree("data", [ours.data, bodyOf(text.slice(0, ours.end))], text);
      mustAgree("end", [null, bodyOf(text.slice(0, ours.end - 1))], text);
    };
  });
}

/** Responses with whatever follows their heads. */
export function responses(name: string): Fuzzer {
  let method = "GET";
  const reader = new LlhttpReader({ kind: "response", methodOf: () => method });
  return textFuzzer(name, (chance) => {
    const grammar = new Grammar(chance);
    return (counts) => {
      const grown = grammar.responseHead() + (chance.oneIn(2) ? grammar.chunkedBody() : "abc");
      const text = grammar.mutate(grown);
      method = chance.oneIn(4) ? "HEAD" : "GET";
      const whole = headOf(text);
      if (whole === null) {
        counts["without end"]++;
        return;
      }
      const ours = parseResponseHead(whole);
      if (typeof ours === "string") {
        counts["refused by us"]++;
        return;
      }
      counts["taken by both"]++;
      const rest = text.slice(whole.length);
      const body = responseBody(ours, method, rest);
      const theirs = reader.read(whole + rest.slice(0, body.end)).messages[0];
      if (theirs === undefined) throw new Finding(`llhttp refuses it: ${reader.fault}`, whole);
      compareHeads(ours, theirs, whole);
      mustAgree("status", [ours.status, theirs.status], whole);
      mustAgree("reason", [ours.reason, theirs.reason], whole);
      if (body.data === null) return;
      mustAgree("completeness", [true, theirs.complete], text);
      mustAgree("body", [body.data, theirs.body], text);
    };
  });
}

/** Up to the first empty line, as a connection cuts it out; null when there is none. */
export function headOf(text: string): string | null {
  const end = text.indexOf("\r\n\r\n");
  return end === -1 ? null : text.slice(0, end + 4);
}

const IDS = new IdSource();
// Of its client and snapshot, accepting reads no more than this.
const CLIENT = { scheme: "http", peer: { address: "192.0.2.1", tls: null } } as Downstream;
const SNAPSHOT = { trustedProxies: null } as Snapshot;

/** The request as the gateway accepts it, its target and host included; null when it does not. */
export function accept(text: string, parse: ParseRequest): Accepted | null {
  const head = parse(text);
  if (!(head instanceof RequestHead)) return null;
  const accepted = acceptRequest({ ids: IDS, snapshot: SNAPSHOT }, CLIENT, head);
  return accepted.fault === null ? accepted : null;
}

/** The body's data and where it ends; null when it is refused or not complete. */
function decode(pieces: readonly string[]): { data: string; end: number } | null {
  const decoder = new ChunkedDecoder();
  let data = "";
  let end = 0;
  for (const piece of pieces) {
    if (decoder.done) break;
    const taken = decoder.push(Buffer.from(piece, "latin1"), 0, (bytes, from, to) => {
      data += bytes.latin1Slice(from, to);
    });
    if (taken === -1) return null;
    end += taken;
  }
  return decoder.done ? { data, end } : null;
}

/** What follows a response's head; its data is null when it is not complete. */
function responseBody(head: ResponseHead, method: string, rest: string) {
  switch (head.framing(method)) {
    case "none":
      return { data: "", end: 0 };
    case "length": {
      const end = head.contentLength;
      return rest.length < end ? { data: null, end: 0 } : { data: rest.slice(0, end), end };
    }
    case "chunked":
      return decode([rest]) ?? { data: null, end: 0 };
    default:
      return { data: rest, end: rest.length };
  }
}

function compareHeads(ours: RequestHead | ResponseHead, theirs: ReadMessage, text: string): void {
  mustAgree("version", [ours.minor, theirs.minor], text);
  mustAgree("fields", [showFields(ours.fields), JSON.stringify(theirs.fields)], text);
}

function showFields({ at, text }: FieldList): string {
  const list: string[] = [];
  for (let i = 0; i < at.length; i += STRIDE) {
    list.push(text.slice(at[i], at[i + 1]), text.slice(at[i + 2], at[i + 3]));
  }
  return JSON.stringify(list);
}

type Read = string | number | boolean | null;

function mustAgree(what: string, [ours, theirs]: [Read, Read], text: string): void {
  if (ours === theirs) return;
  throw new Finding(`another ${what}: ${String(ours)} against ${String(theirs)}`, text);
}
