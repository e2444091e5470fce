// Clients that send whatever there is, in pieces, and go when they like, against a gateway with
// routes of every kind of action. It must not crash, hang or keep anything; what a client gets must
// be whole responses in the order of its requests; what reaches the origin must be requests that
// llhttp reads in what the client sent; and whoever comes next must be served well.

import type { Chance } from "../support/chance.ts";
import type { Edge } from "../support/edge.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { until } from "../support/origin-user.ts";
import { PATHS, startRoutes } from "./edges.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { Grammar } from "./grammar.ts";
import { HonestOrigin, NUMBER_FIELD, PROBE_PATH } from "./honest-origin.ts";
import { Client, liveFuzzer, turns, writeInPieces } from "./live.ts";
import type { Lane } from "./live.ts";
import { normalForm } from "./round-trip.ts";

const CASES_PER_PROBE = 4;
const BIG = "y".repeat(200_000);
const WEBSOCKET =
  "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/** How a client ends: it says so, vanishes, resets, or waits for the gateway to end it. */
const ENDINGS = ["end", "end", "end", "end", "vanish", "reset"] as const;

export function liveClient(name: string): Fuzzer {
  return liveFuzzer(name, async (t, chance, count) => {
    const origin = await HonestOrigin.open(t, chance);
    const edge = await startRoutes(t, origin.port);
    return new ClientLane({ edge, origin, count });
  });
}

type LaneParts = {
  readonly edge: Edge;
  readonly origin: HonestOrigin;
  readonly count: (name: string) => void;
};

class ClientLane implements Lane {
  readonly edge: Edge;
  input = "";
  readonly #origin: HonestOrigin;
  readonly #count: (name: string) => void;
  #runs = 0;
  /** Whole requests of this client and the one before, whose last bytes may still be on their way. */
  #asked: Set<string> = new Set();
  #askedBefore: Set<string> = new Set();

  constructor({ edge, origin, count }: LaneParts) {
    this.edge = edge;
    this.#origin = origin;
    this.#count = count;
  }

  async run(chance: Chance): Promise<void> {
    const text = makeStream(chance);
    this.input = text;
    using reader = new LlhttpReader({ kind: "request" });
    const asked = reader.read(text).messages;
    this.#askedBefore = this.#asked;
    this.#asked = new Set(asked.filter((request) => request.complete).map(askedKey));
    const tunnels = this.#origin.tunnels;
    const client = await Client.connect(this.edge.port);
    try {
      await this.#send(client, text, chance);
    } finally {
      client.socket.destroy();
    }
    if (this.#origin.tunnels !== tunnels) this.#count("tunnels");
    else if (client.end !== "") this.#judgeAnswers(client, asked);
    await until(() => this.edge.host.connectionCount === 0, "the end of its connection");
    await turns(2);
    this.#judgeForwarded();
    if (++this.#runs % CASES_PER_PROBE === 0) await this.#probe();
  }

  async #send(client: Client, text: string, chance: Chance): Promise<void> {
    const { socket } = client;
    const ending = chance.oneIn(80) ? "wait" : chance.pick(ENDINGS);
    const reads = !chance.oneIn(8);
    if (!reads) socket.pause();
    await writeInPieces(socket, text, chance);
    if (ending === "vanish" || ending === "reset") {
      await turns(chance.below(12));
      if (ending === "reset") socket.resetAndDestroy();
      return;
    }
    if (ending === "end") socket.end();
    if (!reads) await turns(chance.below(40));
    socket.resume();
    await until(() => client.isClosed, "the gateway's end of the connection");
  }

  // A reset may cut the last response, an orderly end may not.
  #judgeAnswers({ text, end }: Client, asked: readonly ReadMessage[]): void {
    const methods = asked.map(({ method }) => method);
    let known = methods.length;
    let rest = "GET";
    const methodOf = (index: number) => (index < known ? methods[index] : rest);
    using reader = new LlhttpReader({ kind: "response", methodOf });
    const isRead = () => {
      reader.begin();
      reader.push(Buffer.from(text, "latin1"));
      if (end === "fin") reader.end();
      return reader.fault === "";
    };
    // A head that the gateway refused as a whole is answered with a body, even where it asks for none.
    while (!isRead()) {
      if (rest === "GET") rest = "HEAD";
      else if (known-- > 0) rest = "GET";
      else throw new Error(`bad responses (${reader.fault}): ${text}`);
    }
    let last = 0;
    for (const response of reader.messages) {
      this.#count(response.complete ? "answers" : "answers cut by a reset");
      const number = response.get(NUMBER_FIELD);
      if (number === null) continue;
      if (Number(number) <= last) throw new Error(`answers out of order: ${text}`);
      last = Number(number);
    }
    if (end !== "fin") return;
    const finals = reader.messages.filter(({ status }) => status >= 200);
    const isLast = finals.at(-1)?.get("connection") === "close";
    const due = asked.filter(({ complete }) => complete).length;
    if (finals.length < due && !isLast) throw new Error(`${due} answers are due: ${text}`);
  }

  #judgeForwarded(): void {
    for (const fault of this.#origin.faults) throw new Error(`at the origin: ${fault}`);
    for (const request of this.#origin.requests) {
      this.#count("forwarded");
      const key = forwardedKey(request);
      if (this.#asked.has(key) || this.#askedBefore.has(key)) continue;
      throw new Error(`the origin got what nobody sent: ${key.slice(0, 500)}`);
    }
    this.#origin.requests = [];
  }

  async #probe(): Promise<void> {
    const client = await Client.connect(this.edge.port);
    const text = (path: string, rest = "") => `GET ${path} HTTP/1.1\r\nHost: a\r\n${rest}\r\n`;
    try {
      client.socket.write(text(PROBE_PATH) + text("/respond", "Connection: close\r\n"));
      await until(() => client.isClosed, "the answer to a probe");
    } finally {
      client.socket.destroy();
    }
    using reader = new LlhttpReader({ kind: "response" });
    const { messages, fault } = reader.read(client.text);
    const bodies = messages.map(({ status, body }) => `${status} ${body}`).join(", ");
    if (fault !== "" || bodies !== "200 probe, 200 hello") {
      throw new Error(`a well-formed request got ${client.text}`);
    }
    this.#origin.requests = [];
  }
}

// What is compared of a request: what policies decide by and what the body is.
function askedKey({ method, target, body }: ReadMessage): string {
  const rest = /^https?:\/\/[^/?]*(.*)$/i.exec(target)?.[1];
  const form = rest === undefined || rest.startsWith("/") ? (rest ?? target) : `/${rest}`;
  const { path, query } = normalForm({ method, target: form });
  return JSON.stringify([method, path, query, body]);
}

function forwardedKey({ method, target, body }: ReadMessage): string {
  const question = target.indexOf("?");
  const path = question === -1 ? target : target.slice(0, question);
  const query = question === -1 ? "" : target.slice(question + 1);
  return JSON.stringify([method, path, query, body]);
}

// One to four requests, or bytes.
function makeStream(chance: Chance): string {
  const grammar = new Grammar(chance);
  if (chance.oneIn(30)) {
    return String.fromCharCode(...Array.from({ length: 300 }, () => chance.below(256)));
  }
  let text = "";
  for (let left = chance.between(1, 4); left > 0; left--) text += makeRequest(grammar, chance);
  return chance.oneIn(2) ? grammar.mutate(text) : text;
}

function makeRequest(grammar: Grammar, chance: Chance): string {
  if (chance.oneIn(12)) return WEBSOCKET + (chance.oneIn(2) ? "\x81\x80abcd" : "");
  if (chance.oneIn(5)) return grammar.requestHead();
  const method = chance.pick(["GET", "GET", "HEAD", "POST", "POST", "PUT", "OPTIONS", "DELETE"]);
  const target = chance.oneIn(4) ? grammar.target() : chance.pick(PATHS);
  const version = chance.oneIn(10) ? "HTTP/1.0" : "HTTP/1.1";
  let fields = chance.oneIn(4) ? grammar.plainField() : "";
  if (chance.oneIn(12)) fields += "Connection: close\r\n";
  if (chance.oneIn(12)) fields += "Expect: 100-continue\r\n";
  let body = "";
  if (method !== "GET" && !chance.oneIn(3)) {
    body = chance.oneIn(10) ? BIG : chance.pick(["", "abc", "0\r\n\r\n", "d".repeat(50)]);
    if (chance.oneIn(2)) {
      fields += `Content-Length: ${body.length + (chance.oneIn(20) ? chance.below(3) : 0)}\r\n`;
    } else {
      fields += "Transfer-Encoding: chunked\r\n";
      const chunk = body === "" ? "" : `${body.length.toString(16)}\r\n${body}\r\n`;
      body = chance.oneIn(4) ? grammar.chunkedBody() : `${chunk}0\r\n\r\n`;
    }
  }
  return `${method} ${target} ${version}\r\nHost: a\r\n${fields}\r\n${body}`;
}
