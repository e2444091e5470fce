// Origins of HTTP/2 that answer wrongly: frames that are changed, in pieces, interleaved with those for
// other clients, then nothing, the end or a reset. What a client gets must be what a second reader
// finds in what the origin said to it, and to nobody else, or a refusal of the gateway's own; what was
// cut must never look complete; and what the gateway says to the origin must be without fault.

import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import { Chance } from "../support/chance.ts";
import { startEdge } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { H2Reader } from "../support/h2-reader.ts";
import type { H2Message } from "../support/h2-reader.ts";
import { HpackWriter } from "../support/hpack.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { until } from "../support/origin-user.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { H2Grammar } from "./h2-grammar.ts";
import { HonestClient } from "./honest-client.ts";
import { HonestOrigin, PROBE_PATH } from "./honest-origin.ts";
import { Client, listen, liveFuzzer, turns } from "./live.ts";
import type { Lane } from "./live.ts";

/** How long the gateway waits for an origin that says no more: before a head, and after it. */
const HEAD_MS = 120;
const IDLE_MS = 500;
const METHODS = ["GET", "GET", "POST", "HEAD"];
const ENDINGS = ["none", "none", "none", "end", "reset"] as const;
/** The gateway's word for an origin that cannot be trusted, or that refuses every stream. */
const REFUSALS = [502, 503, 504];
const REFUSAL_TYPE = "application/problem+json";
/** Fields that the gateway sets itself or leaves out. */
const NOT_COMPARED = new Set([
  ...["connection", "date", "keep-alive", "transfer-encoding", "x-request-id", "content-length"],
]);

export function liveH2Origin(name: string): Fuzzer {
  return liveFuzzer(name, async (t, chance, count) => {
    const origin = await HostileOrigin.open(t, chance);
    const honest = await HonestOrigin.open(t, chance);
    const edge = await startEdge(t, {
      config: {
        upstreams: [
          {
            name: "origin",
            protocol: "http2",
            targets: [{ address: `127.0.0.1:${origin.port}` }],
            timeouts: { connect_ms: IDLE_MS, first_byte_ms: HEAD_MS, idle_ms: IDLE_MS },
          },
          { name: "probe", targets: [{ address: `127.0.0.1:${honest.port}` }] },
        ],
        routes: [
          { name: "probe", match: { paths: [{ exact: PROBE_PATH }] }, upstream: "probe" },
          { name: "all", upstream: "origin" },
        ],
      },
    });
    return new H2OriginLane({ edge, origin, count });
  });
}

/** What was said on one stream. */
type Play = {
  readonly connection: OriginConnection;
  readonly stream: number;
  /** Whom it was for; null: a request that came too late for the origin to see it. */
  readonly mark: string | null;
  /** Nothing wrong had been said on its connection, nor was then. */
  readonly isClean: boolean;
};

type OriginConnection = {
  readonly socket: Socket;
  readonly reader: H2Reader;
  readonly hpack: HpackWriter;
  readonly answered: Set<number>;
  isClean: boolean;
  /** The last answer's end. */
  said: Promise<void>;
};

/** What a client got. */
type Got = {
  readonly mark: string;
  readonly client: Client;
  readonly response: ReadMessage | null;
};

/** Answers every request by chance; the number that is its path seeds the answer. */
class HostileOrigin {
  port = 0;
  plays: Play[] = [];
  /** What must not reach an origin. */
  readonly faults: string[] = [];
  /** All that was said since the last look. */
  text = "";
  /** Answers that are being said. */
  playing = 0;
  readonly #connections = new Set<OriginConnection>();
  readonly #chance: Chance;

  private constructor(chance: Chance) {
    this.#chance = chance;
  }

  static async open(t: TestContext, chance: Chance): Promise<HostileOrigin> {
    const origin = new HostileOrigin(chance);
    origin.port = await listen(t, (socket) => origin.#serve(socket));
    return origin;
  }

  #serve(socket: Socket): void {
    const requests = new H2Reader({ kind: "request" });
    const answered = new Set<number>();
    // What is said on a stream may meet a request that is on its way.
    const methodOf = (stream: number) => requests.messages.get(stream)?.get(":method") ?? "GET";
    const reader = new H2Reader({ kind: "response", methodOf });
    const opening = new H2Grammar(new Chance(this.#chance.seed()), []).serverOpening();
    const { isClean } = opening;
    const hpack = new HpackWriter();
    const connection = { socket, reader, hpack, answered, isClean, said: Promise.resolve() };
    this.#connections.add(connection);
    this.#say(connection, opening.text);
    socket.on("data", (bytes: Buffer) => {
      requests.push(bytes);
      if (requests.fault !== "") this.faults.push(`the gateway broke HTTP/2: ${requests.fault}`);
      for (const request of requests.messages.values()) {
        if (!request.hasHead || answered.has(request.stream)) continue;
        answered.add(request.stream);
        if (request.fault !== "") this.faults.push(`the gateway sent ${request.fault}`);
        this.playing++;
        connection.said = connection.said.then(() => this.#play(connection, request));
      }
    });
  }

  /** Forgets what was said before. */
  begin(): void {
    this.plays = [];
    this.text = "";
    for (const each of this.#connections) if (each.socket.destroyed) this.#connections.delete(each);
  }

  /** What may have reached the client that asked with this mark. */
  saidTo(mark: string): Play[] {
    const own = this.plays.filter((play) => play.mark === mark);
    if (own.length > 0) return own;
    const streams = (connection: OriginConnection) =>
      [...connection.reader.messages.keys()].filter((stream) => !connection.answered.has(stream));
    return [...this.#connections].flatMap((connection) =>
      streams(connection).map((stream) => ({ connection, stream, mark: null, isClean: false })),
    );
  }

  async #play(connection: OriginConnection, request: H2Message): Promise<void> {
    const { socket, hpack } = connection;
    const { stream } = request;
    const mark = request.get(":path") ?? "";
    const chance = new Chance(Number(mark.slice(1)));
    const method = request.get(":method") ?? "";
    const { text, isClean } = new H2Grammar(chance, []).answer(hpack, { stream, method, mark });
    const ending = chance.pick(ENDINGS);
    connection.isClean &&= isClean && ending === "none";
    this.plays.push({ connection, stream, mark, isClean: connection.isClean });
    const cuts = Array.from({ length: chance.below(6) }, () => chance.below(text.length + 1));
    const places = [0, ...cuts.sort((a, b) => a - b), text.length];
    for (let i = 1; i < places.length; i++) {
      this.#say(connection, text.slice(places[i - 1], places[i]));
      if (!chance.oneIn(3)) await turns(chance.between(1, 3));
    }
    if (ending === "end") socket.end();
    // A reset behind an end fails, and leaves the socket open.
    if (ending === "reset" && socket.writable) socket.resetAndDestroy();
    else if (ending === "reset") socket.destroy();
    this.playing--;
  }

  #say({ socket, reader }: OriginConnection, text: string): void {
    if (!socket.writable) return;
    reader.push(Buffer.from(text, "latin1"));
    this.text += text;
    socket.write(text, "latin1");
  }
}

type LaneParts = {
  readonly edge: Edge;
  readonly origin: HostileOrigin;
  readonly count: (name: string) => void;
};

class H2OriginLane implements Lane {
  readonly edge: Edge;
  readonly #origin: HostileOrigin;
  readonly #count: (name: string) => void;

  constructor({ edge, origin, count }: LaneParts) {
    this.edge = edge;
    this.#origin = origin;
    this.#count = count;
  }

  get input(): string {
    return this.#origin.text;
  }

  async run(chance: Chance): Promise<void> {
    this.#origin.begin();
    const honest = new HonestClient({ port: this.edge.port, h2: false, tls: false });
    const served = honest.run(chance);
    try {
      const asks = Array.from({ length: chance.between(1, 3) }, () => this.#ask(chance));
      const ends = await Promise.allSettled(asks);
      await until(() => this.#origin.playing === 0, "the end of what the origin says");
      for (const end of ends) {
        if (end.status === "rejected") throw end.reason;
        this.#judge(end.value);
      }
    } finally {
      honest.stop();
      await served;
    }
    for (const fault of this.#origin.faults) throw new Error(fault);
  }

  async #ask(chance: Chance): Promise<Got> {
    const method = chance.pick(METHODS);
    const mark = `/${chance.seed()}`;
    const client = await Client.connect(this.edge.port);
    using reader = new LlhttpReader({ kind: "response", methodOf: () => method });
    client.onText = (bytes) => reader.push(bytes);
    const length = method === "POST" ? "Content-Length: 3\r\n" : "";
    const head = `${method} ${mark} HTTP/1.1\r\nHost: a\r\n${length}Connection: close\r\n\r\n`;
    try {
      client.socket.write(head + (length === "" ? "" : "abc"));
      await until(() => client.isClosed, "an answer");
    } finally {
      client.socket.destroy();
    }
    if (client.end === "fin") reader.end();
    const finals = reader.messages.filter(({ status }) => status >= 200);
    if (reader.fault !== "" || finals.length > 1) {
      throw new Error(`the client got (${reader.fault}): ${client.text}`);
    }
    return { mark, client, response: finals[0] ?? null };
  }

  #judge({ mark, client, response: got }: Got): void {
    const fail = (what: string): never => {
      throw new Error(`${what}: the client got ${client.text}`);
    };
    const plays = this.#origin.saidTo(mark);
    if (got === null) {
      if (client.end !== "reset") fail("no answer");
      this.#count("resets before a head");
      return;
    }
    if (REFUSALS.includes(got.status) && got.get("content-type") === REFUSAL_TYPE) {
      if (!got.complete) fail("a refusal was cut");
      if (got.status !== 504 && plays.some((play) => play.isClean && isWhole(play)))
        fail("a good response was refused");
      this.#count("refused");
      return;
    }
    if (!got.complete && client.end !== "reset") fail("a cut body with an orderly end");
    const why = plays.map((play) => differences(got, play));
    if (!why.includes("")) fail(`not what the origin said (${why.join("; ")})`);
    this.#count(got.complete ? "relayed" : "cut");
  }
}

/** How what the client got differs from what was said, or "". */
function differences(got: ReadMessage, play: Play): string {
  const { stream } = play;
  const { reader } = play.connection;
  const said = reader.messages.get(stream);
  if (said === undefined || !said.hasGoodHead) return "no good head";
  if (String(got.status) !== said.get(":status")) return "another status";
  for (let i = 0; i < got.fields.length; i += 2) {
    const [name, value] = [got.fields[i].toLowerCase(), got.fields[i + 1]];
    if (NOT_COMPARED.has(name)) continue;
    if (!said.fields.some((field) => field[0] === name && field[1] === value))
      return `field ${name}`;
  }
  const body = bodyOf(play);
  if (!body.startsWith(got.body)) return "another body";
  if (!got.complete || play.mark === null) return "";
  return got.body === body && isWhole(play) ? "" : "a part, passed off as complete";
}

// What is behind a declared length is not of the body, though it makes the message malformed.
function bodyOf({ connection: { reader }, stream }: Play): string {
  const said = reader.messages.get(stream);
  const body = (said?.body ?? "") + reader.pendingData(stream);
  return body.slice(0, Number(said?.get("content-length") ?? Infinity));
}

// A body of a declared length has its end in itself, and one that may not be needs none.
function isWhole(play: Play): boolean {
  const said = play.connection.reader.messages.get(play.stream);
  if (said === undefined || !said.hasGoodHead) return false;
  if (said.isGood) return true;
  const length = said.get("content-length");
  return length !== null && bodyOf(play).length === Number(length);
}
