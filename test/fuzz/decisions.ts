// What a plugin may say, said wrong: random and mutated JSON output, and host calls with random
// arguments. Taking it never throws; and what is let through, written into a request or a response,
// is one message with what was set in it, and nothing that splits, frames or hides.

import { LocalView } from "../../gateway/http/response-view.ts";
import { buildRequestHead } from "../../gateway/http/hygiene.ts";
import { hasNoBody, localFields } from "../../gateway/http/respond.ts";
import { Decision } from "../../gateway/plugins/decision.ts";
import type { Exchange } from "../../gateway/exchange.ts";
import type { LocalResponse } from "../../gateway/plugins/verdict.ts";
import { normalizeTarget } from "../../gateway/routing/normalize.ts";
import type { Chance } from "../support/chance.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import { makeExchange } from "../support/made-exchange.ts";
import { Finding } from "./fuzzing.ts";
import type { Counts, Fuzzer } from "./fuzzing.ts";

const INPUTS_PER_ROUND = 5_000;
const INPUTS_PER_LOOK = 100;

const KEYS = ["action", "status", "body", "reason", "path", "headers", "values"];
const KEYS_OF_EDITS = [
  ...["set_request_headers", "set_response_headers", "add_response_headers"],
  ...["remove_request_headers", "remove_response_headers"],
];
const KEYS_ODD = ["", "__proto__", "constructor", "Action", "header", "\0"];
const NAMES = ["x-a", "X-B", "cookie", "set-cookie", "content-type", "location", "x_a", "1"];
/** RFC 9110, 7.6.1, and whatever else says where a message ends or whose it is. */
const FRAMING = [
  ...["connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer"],
  ...["transfer-encoding", "upgrade", "expect", "http2-settings"],
];
const NAMES_ODD = [
  ...FRAMING,
  ...["Content-Length", "transfer-encoding ", "transfer\u212A-encoding", "content-length:", "a b"],
  ...["", ":", "x\r\ny", "x\0", "\u0130", "__proto__", "x-request-id", "date", "x".repeat(200)],
];
const TEXTS = ["", "a", "b c", "/a/b", "\t", "\xfc\xff", "x".repeat(300)];
const TEXTS_ODD = [
  ...["a\r\nb: c", "\n", "\r", "\0", "\x7f", "\x1b", "\u0085", "\u010a", "\u010d", "\u2028"],
  ...["\ud800", "\udc00x", "\u{1f600}", "/../a", "/a?b", "/%0d%0a", "//a", "x".repeat(9_000)],
];
const CONTROL = /[\0-\x1f\x7f-\x9f]/;
const PATHS = ["/", "/a", "/a/b.c", "/%41", "/a%20b", "/a;b=c"];

export function decisions(name: string): Fuzzer {
  return {
    name,
    async run(chance, deadlineMs): Promise<Counts> {
      const counts = { inputs: 0, refused: 0, "of requests": 0, "of responses": 0, answers: 0 };
      const decision = new Decision();
      using judge = new Judge();
      while (counts.inputs < INPUTS_PER_ROUND) {
        if (counts.inputs % INPUTS_PER_LOOK === 0 && performance.now() > deadlineMs) break;
        counts.inputs++;
        decision.begin();
        const said = chance.oneIn(2) ? sayJson(decision, chance) : callHost(decision, chance);
        if (said.why !== null) {
          counts.refused++;
          continue;
        }
        const exchange = makeExchange({ headers: [["x-a", "before"]] });
        if (chance.oneIn(2) && decision.requestFault() === null) {
          counts["of requests"]++;
          const verdict = decision.applyToRequest(exchange);
          if (verdict !== null) counts.answers++;
          if (CONTROL.test(verdict?.reason ?? "")) throw new Finding("a bad reason", said.text);
          judge.request(exchange, verdict?.response ?? null, said.text);
        } else if (decision.responseFault() === null) {
          counts["of responses"]++;
          const response = { status: 200, headers: [], body: "" };
          decision.applyToResponse(exchange, new LocalView(response, exchange));
          judge.response(exchange, response, said.text);
        }
      }
      return counts;
    },
  };
}

type Said = { readonly text: string; readonly why: string | null };

function sayJson(decision: Decision, chance: Chance): Said {
  let text = JSON.stringify(makeDecision(chance));
  if (chance.oneIn(5)) {
    const at = chance.below(text.length + 1);
    const put = chance.pick(['"', "{", "}", "[", ",", "\\u0000", "\\r\\n", "\0", "1e999", "null"]);
    text = text.slice(0, at) + put + text.slice(at + chance.below(3));
  }
  if (chance.oneIn(2_000)) text = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;
  return said(text, () => decision.takeJson(text));
}

/** One to six calls; the first that is refused ends a plugin's call. */
function callHost(decision: Decision, chance: Chance): Said {
  let text = "";
  for (let left = chance.between(1, 6); left > 0; left--) {
    const name = makeName(chance);
    const value = makeText(chance);
    const status = makeStatus(chance);
    const path = makePath(chance);
    const call = chance.pick<() => string | null>([
      () => decision.respond(Number(status), value),
      () => decision.addHeader(name, value),
      () => decision.editRequest(name, chance.oneIn(4) ? null : value),
      () => decision.editResponse(name, chance.oneIn(4) ? null : value),
      () => decision.addToResponse(name, value),
      () => decision.setPath(path),
      () => decision.setValue(name, value),
      () => {
        decision.setReason(value);
        return null;
      },
    ]);
    text += `${JSON.stringify([String(call), name, value, status, path])}\n`;
    const { why } = said(text, call);
    if (why !== null) return { text, why };
  }
  return { text, why: null };
}

function said(text: string, say: () => string | null): Said {
  try {
    return { text, why: say() };
  } catch (error) {
    throw new Finding(`taking it threw ${String(error)}`, text);
  }
}

function makeDecision(chance: Chance): Readonly<Record<string, unknown>> {
  const decision: Record<string, unknown> = {};
  const answers = chance.oneIn(3);
  if (answers) Object.assign(decision, { action: "respond", status: makeStatus(chance) });
  for (let left = chance.between(0, 4); left > 0; left--) {
    const key = chance.oneIn(20)
      ? chance.pick(KEYS_ODD)
      : chance.pick(answers ? [...KEYS, ...KEYS_OF_EDITS] : KEYS_OF_EDITS);
    decision[key] = chance.oneIn(20) ? makeJson(chance, 3) : makeField(key, chance);
  }
  return decision;
}

function makeField(key: string, chance: Chance): unknown {
  switch (key) {
    case "action":
      return chance.pick(["continue", "respond", "respond"]);
    case "status":
      return makeStatus(chance);
    case "body":
    case "reason":
      return makeText(chance);
    case "path":
      return makePath(chance);
    case "remove_request_headers":
    case "remove_response_headers":
      return Array.from({ length: chance.below(4) }, () => makeName(chance));
    default: {
      const length = chance.oneIn(50) ? 100 : chance.below(4);
      return Object.fromEntries(
        Array.from({ length }, (_, i) => [
          length > 50 ? `x-${i}` : makeName(chance),
          makeText(chance),
        ]),
      );
    }
  }
}

function makeJson(chance: Chance, depth: number): unknown {
  switch (chance.below(depth === 0 ? 4 : 6)) {
    case 0:
      return null;
    case 1:
      return chance.oneIn(2);
    case 2:
      return makeStatus(chance);
    case 3:
      return makeText(chance);
    case 4:
      return [makeJson(chance, depth - 1), makeJson(chance, depth - 1)];
    default:
      return { [makeName(chance)]: makeJson(chance, depth - 1) };
  }
}

function makeStatus(chance: Chance): unknown {
  const odd = [0, -1, 100, 199, 600, 1e9, 200.5, Number.NaN, Infinity, "200", null, true];
  return chance.pick(chance.oneIn(6) ? odd : [200, 204, 304, 403, 599]);
}

function makeName(chance: Chance): string {
  return chance.pick(chance.oneIn(15) ? NAMES_ODD : NAMES);
}

function makeText(chance: Chance): string {
  return chance.pick(chance.oneIn(15) ? TEXTS_ODD : TEXTS);
}

function makePath(chance: Chance): string {
  return chance.pick(chance.oneIn(4) ? [...TEXTS, ...TEXTS_ODD] : PATHS);
}

/** Writes what was let through, and reads it as others would. */
class Judge {
  readonly #requests = new LlhttpReader({ kind: "request" });
  readonly #responses = new LlhttpReader({ kind: "response" });

  [Symbol.dispose](): void {
    this.#requests[Symbol.dispose]();
    this.#responses[Symbol.dispose]();
  }

  request(exchange: Exchange, response: LocalResponse | null, said: string): void {
    checkEdits(exchange.requestEdits, said);
    checkEdits(exchange.responseEdits, said);
    checkEdits(exchange.responseEdits?.added ?? null, said);
    if (response !== null) {
      this.response(exchange, response, said);
      return;
    }
    const { path, query } = normalizeTarget(exchange.path) ?? { path: null, query: null };
    if (path !== exchange.path || query !== "") throw new Finding("a path of no normal form", said);
    const text = buildRequestHead(exchange, {
      host: "a",
      forwardedFor: "192.0.2.1",
      forwardedHost: "a",
      contentLength: -1,
      chunked: false,
      websocket: false,
      trailers: false,
    });
    const { messages, fault } = this.#requests.read(text);
    if (messages.length !== 1 || !messages[0].complete || fault !== "") {
      throw new Finding(`not one whole request (${fault}): ${text}`, said);
    }
    for (const [name, value] of exchange.requestEdits ?? []) {
      const seen = messages[0].get(name);
      const sent = value === null ? null : value.replace(/^[ \t]+|[ \t]+$/g, "");
      if (seen !== sent) throw new Finding(`${name} is ${String(seen)}`, said);
    }
  }

  response(exchange: Exchange, response: LocalResponse, said: string): void {
    checkEdits(exchange.responseEdits, said);
    checkEdits(exchange.responseEdits?.added ?? null, said);
    checkEdits(new Map(response.headers), said);
    const body = Buffer.from(response.body);
    const edits = exchange.responseEdits;
    const fields = localFields(response, exchange.requestId, edits, body.length);
    const isSent = !hasNoBody(response.status);
    const text = `${fields}\r\n${isSent ? body.latin1Slice() : ""}`;
    const { messages, fault } = this.#responses.read(text);
    if (messages.length !== 1 || !messages[0].complete || fault !== "") {
      throw new Finding(`not one whole response (${fault}): ${text}`, said);
    }
    if (isSent && messages[0].body !== body.latin1Slice()) throw new Finding("another body", said);
  }
}

function checkEdits(edits: Iterable<readonly [string, string | null]> | null, said: string): void {
  for (const [name, value] of edits ?? []) {
    if (FRAMING.includes(name.toLowerCase())) throw new Finding(`${name} was let through`, said);
    // By codes, since a pattern with /i or /u would fold what is not ASCII.
    for (const char of name) {
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]$/.test(char)) throw new Finding(`a name ${name}`, said);
    }
    for (let i = 0; i < (value?.length ?? 0); i++) {
      const code = value?.charCodeAt(i) ?? 0;
      const isFine = code === 9 || (code >= 32 && code < 256 && code !== 127);
      if (!isFine) throw new Finding(`the value of ${name} holds ${code}`, said);
    }
  }
}
