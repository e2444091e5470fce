// A client that says only what is right, beside hostile ones: it asks again and again, over HTTP/1.1 or
// HTTP/2, with or without TLS, and must get exactly its own bytes back in time.

import http2 from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import net from "node:net";
import type { Socket } from "node:net";
import tls from "node:tls";
import type { Chance } from "../support/chance.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import { until } from "../support/origin-user.ts";
import { PROBE_PATH } from "./honest-origin.ts";
import { Client, turns } from "./live.ts";

/** Longer is a connection not kept between two questions: the gateway may close it any time. */
const KEPT_MS_MAX = 300;
const MARK = "honest ";
const BODY_CHARS_MAX = 3_000;

export type HonestOptions = {
  readonly port: number;
  readonly h2: boolean;
  readonly tls: boolean;
  /** What comes before everything else. */
  readonly before?: Buffer;
};

/** True for what such a client asks of an origin. */
export function isHonest({ target, body }: { target: string; body: string }): boolean {
  return target === PROBE_PATH && body.startsWith(MARK);
}

type Asker = {
  readonly isClosed: boolean;
  /** What came back, as a text. */
  ask(body: string): Promise<string>;
  close(): void;
};

export class HonestClient {
  answers = 0;
  readonly #options: HonestOptions;
  #asker: Asker | null = null;
  #askedMs = 0;
  #isOver = false;

  constructor(options: HonestOptions) {
    this.#options = options;
  }

  /** Asks until it is told to stop; rejects when it is not served well. The caller stops it. */
  async run(chance: Chance): Promise<void> {
    try {
      do {
        await this.#ask(chance);
        await turns(chance.between(1, 5));
      } while (!this.#isOver);
    } finally {
      this.#asker?.close();
    }
  }

  stop(): void {
    this.#isOver = true;
  }

  async #ask(chance: Chance): Promise<void> {
    const nowMs = performance.now();
    if (this.#asker === null || this.#asker.isClosed || nowMs - this.#askedMs > KEPT_MS_MAX) {
      this.#asker?.close();
      this.#asker = await connect(this.#options);
    }
    const filling = String.fromCharCode(32 + chance.below(95)).repeat(chance.below(BODY_CHARS_MAX));
    const body = `${MARK}${chance.seed()} ${filling}`;
    const got = await this.#asker.ask(body);
    this.#askedMs = performance.now();
    if (got !== `200 ${body}`) throw new Error(`a client beside it got ${got.slice(0, 500)}`);
    this.answers++;
  }
}

/** One question over a connected socket; resolves to what came back, as a text. */
export async function askOnce(
  under: Socket,
  kind: { readonly h2: boolean; readonly tls: boolean },
  body: string,
): Promise<string> {
  const asker = await askerOver(under, kind);
  const got = await asker.ask(body);
  asker.close();
  return got;
}

async function connect({ port, before, ...kind }: HonestOptions): Promise<Asker> {
  const under = net.connect({ port, host: "127.0.0.1", noDelay: true });
  under.on("error", () => {});
  if (before !== undefined) under.write(before);
  await until(() => !under.connecting, "a connection beside it");
  return askerOver(under, kind);
}

async function askerOver(under: Socket, kind: { h2: boolean; tls: boolean }): Promise<Asker> {
  const socket = kind.tls ? await secure(under, kind.h2 ? "h2" : "http/1.1") : under;
  return kind.h2 ? askOverH2(socket, kind.tls) : askOverH1(socket);
}

/** The socket after a handshake. */
export async function secure(under: Socket, protocol: string): Promise<Socket> {
  let isSecure = false;
  const options = { rejectUnauthorized: false, ALPNProtocols: [protocol] };
  const socket = tls.connect({ socket: under, ...options });
  socket.on("error", () => {});
  socket.once("secureConnect", () => (isSecure = true));
  try {
    await until(() => isSecure || under.destroyed, "a handshake of a good client");
    if (!isSecure) throw new Error("the handshake of a good client was refused");
  } catch (error) {
    under.destroy();
    throw error;
  }
  return socket;
}

function askOverH1(socket: Socket): Asker {
  const client = new Client(socket);
  return {
    get isClosed() {
      return client.isClosed || client.end !== "";
    },
    ask: async (body) => {
      client.text = "";
      const head = `POST ${PROBE_PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}`;
      socket.write(`${head}\r\n\r\n${body}`, "latin1");
      using reader = new LlhttpReader({ kind: "response" });
      client.onText = (bytes) => reader.push(bytes);
      const isOver = () => reader.messages.some(({ complete }) => complete) || client.isClosed;
      await until(() => isOver() || reader.fault !== "", "the answer beside it");
      client.onText = null;
      const [message] = reader.messages;
      const isOne = reader.messages.length === 1 && message.complete && reader.fault === "";
      return isOne ? `${message.status} ${message.body}` : client.text;
    },
    close: () => void socket.destroy(),
  };
}

function askOverH2(socket: Socket, secure: boolean): Asker {
  const url = secure ? "https://a" : "http://a";
  const session = http2.connect(url, { createConnection: () => socket });
  session.on("error", () => {});
  return {
    get isClosed() {
      return session.closed || session.destroyed;
    },
    ask: (body) => askStream(session, body),
    close: () => {
      session.destroy();
      socket.destroy();
    },
  };
}

async function askStream(session: ClientHttp2Session, body: string): Promise<string> {
  const stream = session.request({ ":method": "POST", ":path": PROBE_PATH });
  let got = "";
  let isClosed = false;
  stream.on("error", (error) => (got += error.message));
  stream.on("response", (headers) => (got = `${headers[":status"]} ${got}`));
  stream.on("data", (bytes: Buffer) => (got += bytes.latin1Slice()));
  stream.on("close", () => (isClosed = true));
  stream.end(body, "latin1");
  await until(() => isClosed, "the answer beside it");
  return got;
}
