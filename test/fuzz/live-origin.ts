// Origins that answer wrongly: mutated responses in pieces, then the end, a reset or nothing. What a
// client gets must be a response that llhttp reads; it must be the one that llhttp reads in what the
// origin said, or a refusal of the gateway's own; and what was cut must never look complete. The
// next client must not get what this origin had said too much.

import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import type { Chance } from "../support/chance.ts";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { until } from "../support/origin-user.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { Grammar } from "./grammar.ts";
import { Client, listen, liveFuzzer, turns, writeInPieces } from "./live.ts";
import type { Lane } from "./live.ts";

const BIG = "x".repeat(120_000);
/** How long the gateway waits for an origin that says no more: before a head, and after it. */
const HEAD_MS = 120;
const IDLE_MS = 500;
/** Turns in which a connection is closed that needs no waiting for. */
const CLOSE_TURNS_MAX = 300;
/** The gateway's word for an origin that cannot be trusted. */
const REFUSALS = [502, 504];
const INTERIMS = [
  "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
  "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n",
  "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
];
const ENDINGS = ["end", "end", "reset"] as const;
/** Fields that the gateway sets itself or leaves out. */
const NOT_COMPARED = new Set([
  ...["connection", "date", "keep-alive", "transfer-encoding", "x-request-id"],
]);

export function liveOrigin(name: string): Fuzzer {
  return liveFuzzer(name, async (t, _chance, count) => {
    const origin = await ScriptedOrigin.open(t);
    const edge = await startEdge(t, {
      config: {
        upstreams: [
          {
            name: "origin",
            targets: [{ address: `127.0.0.1:${origin.port}` }],
            timeouts: { first_byte_ms: HEAD_MS, idle_ms: IDLE_MS },
          },
        ],
        routes: [{ name: "all", upstream: "origin" }],
      },
    });
    return new OriginLane({ edge, origin, count });
  });
}

type Script = {
  readonly text: string;
  readonly ending: "none" | "end" | "reset";
  readonly chance: Chance;
};

/** Answers every request by the script of the moment. */
class ScriptedOrigin {
  port = 0;
  script: Script | null = null;
  /** Connections that are open. */
  readonly sockets = new Set<Socket>();
  /** The script is being played. */
  playing = 0;

  static async open(t: TestContext): Promise<ScriptedOrigin> {
    const origin = new ScriptedOrigin();
    origin.port = await listen(t, (socket) => origin.#serve(socket));
    return origin;
  }

  #serve(socket: Socket): void {
    this.sockets.add(socket);
    const onComplete = () => void this.#play(socket);
    const reader = new LlhttpReader({ kind: "request", onComplete });
    socket.on("data", (bytes: Buffer) => reader.push(bytes));
    socket.on("close", () => {
      this.sockets.delete(socket);
      reader[Symbol.dispose]();
    });
  }

  async #play(socket: Socket): Promise<void> {
    if (this.script === null) return;
    const { text, ending, chance } = this.script;
    this.playing++;
    await writeInPieces(socket, text, chance);
    if (ending === "end") socket.end();
    if (ending === "reset") socket.resetAndDestroy();
    this.playing--;
  }
}

type Asked = { readonly method: string; readonly minor: 0 | 1 };

/** What llhttp reads in what the origin said. */
type Said = {
  /** The final response; null when there is none. */
  readonly response: ReadMessage | null;
  /** Nothing was said but it, and it may go on. */
  readonly isClean: boolean;
};

type LaneParts = {
  readonly edge: Edge;
  readonly origin: ScriptedOrigin;
  readonly count: (name: string) => void;
};

class OriginLane implements Lane {
  readonly edge: Edge;
  input = "";
  readonly #origin: ScriptedOrigin;
  readonly #count: (name: string) => void;

  constructor({ edge, origin, count }: LaneParts) {
    this.edge = edge;
    this.#origin = origin;
    this.#count = count;
  }

  async run(chance: Chance): Promise<void> {
    const client = await Client.connect(this.edge.port);
    const grammar = new Grammar(chance);
    try {
      // Several on one connection, as long as it lives: the second sees what the first left.
      for (let left = chance.between(1, 3); left > 0 && client.end === ""; left--) {
        const minor = chance.oneIn(8) ? 0 : 1;
        const asked: Asked = { method: chance.pick(["GET", "GET", "HEAD"]), minor };
        await this.#exchange(client, asked, makeScript(grammar, chance));
      }
    } finally {
      client.socket.destroy();
    }
  }

  async #exchange(client: Client, asked: Asked, script: Script): Promise<void> {
    this.input = script.text;
    const said = readScript(script, asked.method);
    this.#origin.script = script;
    client.text = "";
    const got = await this.#ask(client, asked);
    const answer = client.text;
    this.#judge(got, said, client);
    await until(() => this.#origin.playing === 0, "the end of the script");
    if (!said.isClean) await this.#awaitClose(said);
    await turns(2);
    if (got?.complete === true && client.text !== answer) {
      throw new Error(`more than a response: ${client.text}`);
    }
  }

  // What was said too much must cost the connection, or the next client might get it.
  async #awaitClose({ response }: Said): Promise<void> {
    const { sockets } = this.#origin;
    if (response?.complete !== true) {
      await until(() => sockets.size === 0, "the end of a connection that says no more");
      return;
    }
    for (let left = CLOSE_TURNS_MAX; left > 0 && sockets.size > 0; left--) await turns(1);
    if (sockets.size > 0) throw new Error("a connection with more than a response is kept");
  }

  /** The final response, or null when none was seen before the end. */
  async #ask(client: Client, asked: Asked): Promise<ReadMessage | null> {
    const { method, minor } = asked;
    using reader = new LlhttpReader({ kind: "response", methodOf: () => method });
    const isOver = () => reader.messages.some(({ status, complete }) => status >= 200 && complete);
    client.onText = (bytes) => reader.push(bytes);
    client.socket.write(`${method} / HTTP/1.${minor}\r\nHost: a\r\n\r\n`);
    await until(() => client.isClosed || isOver() || reader.fault !== "", "an answer");
    client.onText = null;
    if (client.end === "fin") reader.end();
    if (reader.fault !== "" && !(client.end === "fin" && reader.messages.length === 0)) {
      throw new Error(`the client got (${reader.fault}): ${client.text}`);
    }
    const finals = reader.messages.filter(({ status }) => status >= 200);
    if (finals.length > 1) throw new Error(`two responses: ${client.text}`);
    return finals[0] ?? null;
  }

  #judge(got: ReadMessage | null, said: Said, client: Client): void {
    const { response } = said;
    const fail = (what: string): never => {
      throw new Error(`${what}: the client got ${client.text}`);
    };
    if (got === null) {
      if (client.end !== "reset") fail("no answer");
      this.#count("resets before a head");
      return;
    }
    const isRefusal = REFUSALS.includes(got.status) && got.status !== response?.status;
    if (isRefusal) {
      if (!got.complete) fail("a refusal was cut");
      this.#count("refused");
      return;
    }
    if (response === null) return fail("a response that the origin did not send");
    if (got.status !== response.status) fail(`not status ${response.status}`);
    if (got.reason !== response.reason) fail(`not reason ${response.reason}`);
    mustBeAmong(got, response, fail);
    if (!response.body.startsWith(got.body)) fail("another body");
    if (!got.complete) {
      if (client.end !== "reset") fail("a cut body with an orderly end");
      this.#count("cut");
      return;
    }
    if (!response.complete) fail("a cut body was passed off as complete");
    if (got.body !== response.body) fail("a part of the body passed off as complete");
    this.#count("relayed");
  }
}

/** Every field that the client got is one that the origin sent, in its order. */
function mustBeAmong(got: ReadMessage, sent: ReadMessage, fail: (what: string) => never): void {
  let from = 0;
  for (let i = 0; i < got.fields.length; i += 2) {
    const [name, value] = got.fields.slice(i, i + 2);
    if (NOT_COMPARED.has(name.toLowerCase())) continue;
    let at = from;
    while (at < sent.fields.length && !(sent.fields[at] === name && sent.fields[at + 1] === value))
      at += 2;
    if (at >= sent.fields.length) fail(`a field that the origin did not send, ${name}`);
    from = at + 2;
  }
}

function readScript({ text, ending }: Script, method: string): Said {
  using reader = new LlhttpReader({ kind: "response", methodOf: () => method });
  let rest = text;
  let isKept = true;
  for (; ; isKept = false) {
    reader.begin();
    reader.push(Buffer.from(rest, "latin1"));
    // Behind an interim response with Connection: close llhttp expects no other. There is one, and
    // only the connection must not be kept.
    const isInterim = reader.messages.every(({ status }) => status < 200);
    if (reader.fault !== "HPE_CLOSED_CONNECTION" || !isInterim) break;
    for (const _ of reader.messages) rest = rest.slice(rest.indexOf("\r\n\r\n") + 4);
  }
  const isWhole = reader.messages.at(-1)?.complete === true;
  if (ending === "end") reader.end();
  const { messages, fault } = reader;
  const index = messages.findIndex(({ status }) => status >= 200);
  const isOne = index !== -1 && index === messages.length - 1;
  const isClean = isKept && isWhole && isOne && fault === "" && ending === "none";
  return { response: messages[index] ?? null, isClean };
}

function makeScript(grammar: Grammar, chance: Chance): Script {
  const interim = chance.oneIn(12) ? chance.pick(INTERIMS) : "";
  let head = grammar.responseHead();
  let body = chance.oneIn(12) ? BIG : chance.pick(["", "abc", "\r\n", "HTTP/1.1 200 OK\r\n\r\n"]);
  let framed = true;
  switch (chance.below(4)) {
    case 0:
      head = head.replace("\r\n", "\r\nTransfer-Encoding: chunked\r\n");
      body = chance.oneIn(8)
        ? `1d4c0\r\n${BIG}\r\n0\r\n\r\n`
        : chance.oneIn(2)
          ? grammar.chunkedBody()
          : "3\r\nabc\r\n0\r\n\r\n";
      break;
    case 1:
      framed = false;
      break;
    default:
      head = head.replace("\r\n", `\r\nContent-Length: ${body.length}\r\n`);
  }
  const text = interim + head + body;
  const ending = framed && !chance.oneIn(4) ? "none" : chance.pick(ENDINGS);
  // The last byte is missing, and nobody says so.
  if (chance.oneIn(15)) return { text: text.slice(0, -1), ending, chance };
  return { text: chance.oneIn(2) ? text : grammar.mutate(text), ending, chance };
}
