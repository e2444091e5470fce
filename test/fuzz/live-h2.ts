// Clients of HTTP/2, over clear text with prior knowledge and over TLS, that send frames of every kind,
// right and wrong, in pieces, and go when they like. It must not crash, hang or keep anything; what a
// client gets must be frames that a second reader takes; what reaches the origin must be requests that
// this reader finds whole and well-formed in what the client sent; who asks well is answered, the
// client beside it all along.

import net from "node:net";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import tls from "node:tls";
import { normalizeHost } from "../../gateway/routing/normalize.ts";
import { Authority } from "../support/certificates.ts";
import type { Chance } from "../support/chance.ts";
import { tlsOptions } from "../support/edge.ts";
import type { Edge } from "../support/edge.ts";
import { H2Reader } from "../support/h2-reader.ts";
import type { H2Message } from "../support/h2-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { until } from "../support/origin-user.ts";
import { PATHS, startRoutes } from "./edges.ts";
import type { Fuzzer } from "./fuzzing.ts";
import { H2Grammar } from "./h2-grammar.ts";
import type { ClientSession } from "./h2-grammar.ts";
import { HonestClient, isHonest, secure } from "./honest-client.ts";
import { HonestOrigin } from "./honest-origin.ts";
import { Client, liveFuzzer, turns, writeInPieces } from "./live.ts";
import type { Lane } from "./live.ts";
import { normalForm } from "./round-trip.ts";

/** How a client ends that is not owed anything. */
const ENDINGS = ["end", "end", "end", "vanish", "reset"] as const;
/** Fields that cross as they are. */
const COMPARED = ["x-a", "x-b", "accept", "accept-encoding"];
/** Fewer than would be open if one were kept each time. */
const CONNECTIONS_MAX = 16;

export function liveH2(name: string): Fuzzer {
  return liveFuzzer(name, async (t, chance, count) => {
    const isTls = chance.oneIn(3);
    const origin = await HonestOrigin.open(t, chance);
    const edge = await startH2(t, origin.port, isTls);
    return new H2Lane({ edge, origin, count, isTls });
  });
}

function startH2(t: TestContext, originPort: number, isTls: boolean): Promise<Edge> {
  const certificate = isTls ? new Authority("fuzz").make({ dns: ["a"] }) : null;
  return startRoutes(t, originPort, {
    http2: true,
    connectionsMax: CONNECTIONS_MAX,
    tls: certificate === null ? undefined : tlsOptions([certificate]),
  });
}

type LaneParts = {
  readonly edge: Edge;
  readonly origin: HonestOrigin;
  readonly count: (name: string) => void;
  readonly isTls: boolean;
};

class H2Lane implements Lane {
  readonly edge: Edge;
  input = "";
  readonly #origin: HonestOrigin;
  readonly #count: (name: string) => void;
  readonly #isTls: boolean;
  /** Whole requests of this client and the one before, whose last bytes may still be on their way. */
  #asked: ReadonlySet<string> = new Set();
  #askedBefore: ReadonlySet<string> = new Set();

  constructor({ edge, origin, count, isTls }: LaneParts) {
    this.edge = edge;
    this.#origin = origin;
    this.#count = count;
    this.#isTls = isTls;
  }

  async run(chance: Chance): Promise<void> {
    const session = new H2Grammar(chance, PATHS).clientSession();
    this.input = session.text;
    const said = new H2Reader({ kind: "request" });
    said.push(Buffer.from(session.text, "latin1"));
    said.end();
    this.#askedBefore = this.#asked;
    const good = [...said.messages.values()].filter(mayCross);
    this.#asked = new Set(good.map(askedKey));
    if (session.cleanRequests !== null && session.cleanRequests !== good.length) {
      const faults = [said.fault, ...[...said.messages.values()].map(({ fault }) => fault)];
      throw new Error(`the reader finds faults in what is clean: ${faults.join(", ")}`);
    }
    const honest = new HonestClient({ port: this.edge.port, h2: true, tls: this.#isTls });
    const served = honest.run(chance);
    try {
      const answers = await this.#visit(session, said, chance);
      if (session.cleanRequests !== null) this.#judgeClean(answers, said);
    } finally {
      honest.stop();
      await served;
    }
    this.#count("beside it");
    await until(() => this.edge.host.connectionCount === 0, "the end of its connection");
    await turns(2);
    this.#judgeForwarded();
  }

  async #visit(session: ClientSession, said: H2Reader, chance: Chance): Promise<H2Reader> {
    const client = new Client(await this.#connect());
    const answers = new H2Reader({
      kind: "response",
      methodOf: (stream) => methodOf(said, stream),
    });
    client.onText = (bytes) => answers.push(bytes);
    try {
      const isOwed = session.cleanRequests !== null;
      const reads = isOwed || !chance.oneIn(8);
      if (!reads) client.socket.pause();
      await writeInPieces(client.socket, session.text, chance);
      if (isOwed) await until(() => isAnswered(answers, said) || client.isClosed, "all answers");
      await this.#leave(client, chance, reads);
    } finally {
      client.socket.destroy();
    }
    if (client.text.startsWith("HTTP/1.1 ")) this.#count("not taken for HTTP/2");
    else if (answers.fault !== "") {
      throw new Error(`bad answers (${answers.fault}): ${JSON.stringify(client.text)}`);
    }
    for (const answer of answers.messages.values()) {
      if (answer.isGood) this.#count("answers");
      else if (!answer.wasReset && answer.fault !== "")
        throw new Error(`an answer with ${answer.fault}`);
      else this.#count("cut or reset");
    }
    return answers;
  }

  async #leave(client: Client, chance: Chance, reads: boolean): Promise<void> {
    const { socket } = client;
    const ending = chance.oneIn(80) ? "wait" : chance.pick(ENDINGS);
    await turns(chance.below(12));
    if (ending === "vanish") return;
    if (ending === "reset") {
      if (!(socket instanceof tls.TLSSocket)) socket.resetAndDestroy();
      return;
    }
    if (ending === "end") socket.end();
    if (!reads) await turns(chance.below(40));
    socket.resume();
    await until(() => client.isClosed, "the gateway's end of the connection");
  }

  async #connect(): Promise<Socket> {
    const under = net.connect({ port: this.edge.port, host: "127.0.0.1", allowHalfOpen: true });
    under.setNoDelay(true);
    under.on("error", () => {});
    if (!this.#isTls) {
      await until(() => !under.connecting, "a connection");
      return under;
    }
    return secure(under, "h2");
  }

  #judgeClean(answers: H2Reader, said: H2Reader): void {
    for (const stream of said.messages.keys()) {
      const answer = answers.messages.get(stream);
      if (answer?.isGood === true) continue;
      throw new Error(`a well-formed request on stream ${stream} got ${JSON.stringify(answer)}`);
    }
    this.#count("all answered");
  }

  #judgeForwarded(): void {
    for (const fault of this.#origin.faults) throw new Error(`at the origin: ${fault}`);
    for (const request of this.#origin.requests) {
      if (isHonest(request)) continue;
      this.#count("forwarded");
      const key = forwardedKey(request);
      if (this.#asked.has(key) || this.#askedBefore.has(key)) continue;
      throw new Error(`the origin got what nobody sent: ${key.slice(0, 500)}`);
    }
    this.#origin.requests = [];
  }
}

// The gateway may reset what the reader has not read to the end, or not looked at.
function methodOf(said: H2Reader, stream: number): string {
  return said.messages.get(stream)?.get(":method") ?? "GET";
}

// What opens a tunnel needs no end, and a body of a declared length has its end in itself.
function mayCross(message: H2Message): boolean {
  if (message.isGood) return true;
  if (!message.hasGoodHead) return false;
  const length = message.get("content-length");
  if (length !== null) return message.body.length >= Number(length);
  return message.get(":protocol") !== null;
}

function isAnswered(answers: H2Reader, said: H2Reader): boolean {
  return [...said.messages.keys()].every((stream) => {
    const answer = answers.messages.get(stream);
    return answer?.complete === true || answer?.wasReset === true;
  });
}

// What is compared of a request: what policies decide by, what crosses, and what the body is.
export function askedKey(message: H2Message): string {
  const isTunnel = message.get(":protocol") !== null;
  const method = isTunnel ? "GET" : (message.get(":method") ?? "");
  const target = message.get(":path") ?? "";
  const fields = message.fields.filter(([name]) => COMPARED.includes(name));
  const host = message.get(":authority") ?? message.get("host") ?? "";
  const length = isTunnel ? 0 : Number(message.get("content-length") ?? Infinity);
  const body = message.body.slice(0, length);
  return keyOf({ method, target, host, fields: fields.flat(), body });
}

export function forwardedKey(request: ReadMessage): string {
  const { method, target, body } = request;
  const fields: string[] = [];
  for (let i = 0; i < request.fields.length; i += 2) {
    const name = request.fields[i].toLowerCase();
    if (COMPARED.includes(name)) fields.push(name, request.fields[i + 1]);
  }
  return keyOf({ method, target, host: request.get("host") ?? "", fields, body });
}

function keyOf(given: {
  method: string;
  target: string;
  host: string;
  fields: readonly string[];
  body: string;
}): string {
  const { method, target, fields, body } = given;
  const { path, query } = normalForm({ method, target });
  return JSON.stringify([method, path, query, normalizeHost(given.host), fields, body]);
}
