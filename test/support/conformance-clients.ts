// A client of either protocol that says exactly what a case says, malformed or not, and reports what it
// saw in terms of neither. Answers are read by llhttp, strict, and by nghttp2.

import { once } from "node:events";
import http2 from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import net from "node:net";
import type { Socket } from "node:net";
import { addAbortSignal } from "node:stream";
import type { TestContext } from "node:test";
import { Progress } from "./conformance-case.ts";
import type { Field, Protocol, Request } from "./conformance-case.ts";
import { Tampered } from "./h2-tampered.ts";
import { LlhttpReader } from "./llhttp-reader.ts";

const WAIT_MS = 20_000;
export const HOST = "api.test";

/** What a client saw of the answer. */
export type Seen = {
  /** 0: no head came. */
  status: number;
  interims: (readonly [status: number, fields: readonly Field[]])[];
  fields: readonly Field[];
  body: string;
  trailers: readonly Field[];
  isWhole: boolean;
  /** The connection ended with it. */
  closes: boolean;
};

export interface Client {
  /** Sends a request and waits for its answer's end; `onSeen` is told whenever more of it came. */
  ask(request: Request, onSeen?: (seen: Seen) => void): Promise<Seen>;
  readonly isOpen: boolean;
}

export async function connectClient(
  t: TestContext,
  protocol: Protocol,
  port: number,
): Promise<Client> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
  t.after(() => socket.destroy());
  await once(socket, "connect", { signal: AbortSignal.timeout(WAIT_MS) });
  if (protocol === "h1") return new H1Client(socket);
  const wire = new Tampered(socket, "client");
  const session = http2.connect("http://placeholder", { createConnection: () => wire });
  t.after(() => session.destroy());
  session.on("error", () => {});
  await once(session, "remoteSettings", { signal: AbortSignal.timeout(WAIT_MS) });
  return new H2Client(session, wire);
}

/** The method of a request that names none. */
export function methodOf({ method, body }: Request): string {
  return method ?? (body === undefined ? "GET" : "POST");
}

function nothingSeen(): Seen {
  return {
    status: 0,
    interims: [],
    fields: [],
    body: "",
    trailers: [],
    isWhole: false,
    closes: false,
  };
}

class H1Client implements Client {
  readonly #socket: Socket;
  readonly #methods: string[] = [];
  readonly #reader: LlhttpReader;
  readonly #progress = new Progress();
  #text = "";
  #ended = false;
  #asked = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#reader = new LlhttpReader({
      kind: "response",
      methodOf: (index) => this.#methods[index],
    });
    socket.on("data", (chunk: Buffer) => {
      this.#text = (this.#text + chunk.latin1Slice()).slice(-256);
      this.#reader.push(chunk);
      this.#progress.changed();
    });
    socket.on("end", () => {
      this.#reader.end();
      this.#ended = true;
      this.#progress.changed();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#ended = true;
      this.#progress.changed();
    });
  }

  get isOpen(): boolean {
    return !this.#ended;
  }

  async ask(request: Request, onSeen: (seen: Seen) => void = () => {}): Promise<Seen> {
    const { body, bytes, halfClose } = request;
    const first = this.#reader.messages.length;
    this.#methods[this.#asked++] = bytes?.startsWith("HEAD ") ? "HEAD" : methodOf(request);
    const seen = () => this.#seen(first);
    this.#socket.write(bytes ?? h1Head(request), "latin1");
    if (body?.isAskedFor === true) {
      await this.#progress.until(
        () => seen().interims.length > 0 || seen().isWhole,
        "word about the body",
      );
    }
    if (body !== undefined && bytes === undefined && !seen().isWhole) this.#sendBody(body);
    if (halfClose === true) this.#socket.end();
    const look = () => {
      if (seen().status !== 0) onSeen(seen());
      return seen().isWhole || this.#ended;
    };
    await this.#progress.until(look, "end of the answer");
    const answer = seen();
    const says = answer.fields.find(([name]) => name === "connection")?.[1];
    if (says === "close") await this.#progress.until(() => this.#ended, "end of the connection");
    return { ...answer, closes: says === "close" };
  }

  #sendBody({ text, length, trailers = [], then }: NonNullable<Request["body"]>): void {
    const isDeclared = length !== undefined;
    const pieces = text === "" ? [] : [text.slice(0, 3), text.slice(3)].filter((p) => p !== "");
    const sent = isDeclared ? text : pieces.map(chunkOf).join("");
    if (sent !== "") this.#socket.write(sent, "latin1");
    if (then === "reset") this.#socket.resetAndDestroy();
    else if (then === "end") this.#socket.end();
    else if (then === undefined && !isDeclared) {
      this.#socket.write(`0\r\n${linesOf(trailers)}\r\n`, "latin1");
    }
  }

  #seen(first: number): Seen {
    const seen = nothingSeen();
    for (const message of this.#reader.messages.slice(first)) {
      const fields = pairsOfNames(message.fields);
      if (message.status < 200) {
        seen.interims.push([message.status, fields]);
      } else {
        seen.status = message.status;
        seen.fields = fields;
        seen.body = message.body;
        seen.isWhole = message.complete && this.#reader.fault === "";
        const isChunked = message.get("transfer-encoding") !== null;
        if (seen.isWhole && isChunked) seen.trailers = trailersOf(this.#text);
      }
    }
    return seen;
  }
}

// Chunks end with an empty one, and trailers would be between it and an empty line.
function trailersOf(text: string): readonly Field[] {
  const lines = text.slice(text.lastIndexOf("\r\n0\r\n") + 5).split("\r\n");
  return lines
    .slice(0, -2)
    .map((line): Field => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
}

function h1Head(request: Request): string {
  const { target = "/a", host = HOST, fields = [], body } = request;
  let text = `${methodOf(request)} ${target} HTTP/1.1\r\n`;
  if (host !== null) text += `host: ${host}\r\n`;
  text += linesOf(fields);
  if (body?.length !== undefined) text += `content-length: ${body.length}\r\n`;
  else if (body !== undefined) text += "transfer-encoding: chunked\r\n";
  return `${text}\r\n`;
}

export function linesOf(fields: readonly Field[]): string {
  return fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
}

export function chunkOf(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** Names and values in turn as pairs, names in lower case. */
export function pairsOfNames(raw: readonly string[]): Field[] {
  const fields: Field[] = [];
  for (let i = 0; i < raw.length; i += 2) fields.push([raw[i].toLowerCase(), raw[i + 1]]);
  return fields;
}

class H2Client implements Client {
  readonly #session: ClientHttp2Session;
  readonly #wire: Tampered;
  readonly #progress = new Progress();

  constructor(session: ClientHttp2Session, wire: Tampered) {
    this.#session = session;
    this.#wire = wire;
    session.on("close", () => this.#progress.changed());
  }

  get isOpen(): boolean {
    return !this.#session.closed && !this.#session.destroyed;
  }

  async ask(request: Request, onSeen: (seen: Seen) => void = () => {}): Promise<Seen> {
    const { body } = request;
    const seen = nothingSeen();
    const more = () => {
      if (seen.status !== 0) onSeen(seen);
      this.#progress.changed();
    };
    // Whoever reads the answer only has to know that a HEAD has no body.
    const stream = this.#session.request(
      { ":method": methodOf(request) === "HEAD" ? "HEAD" : "POST" },
      { endStream: body === undefined, waitForTrailers: (body?.trailers?.length ?? 0) > 0 },
    );
    let isEnded = false;
    let isClosed = false;
    stream.on("headers", (_headers, _flags, raw) => {
      seen.interims.push(statusAndFields(raw));
      more();
    });
    stream.on("response", (_headers, _flags, raw) => {
      [seen.status, seen.fields] = statusAndFields(raw);
      more();
    });
    stream.on("trailers", (_headers, _flags, raw) => (seen.trailers = pairsOfNames(raw)));
    stream.on("data", (chunk: Buffer) => {
      seen.body += chunk.latin1Slice();
      more();
    });
    stream.on("end", () => (isEnded = true));
    stream.on("error", () => {});
    stream.on("close", () => {
      isClosed = true;
      this.#progress.changed();
    });
    stream.on("wantTrailers", () => {
      this.#wire.say(stream.id ?? 0, body?.trailers ?? []);
      stream.sendTrailers({ "x-placeholder": "1" });
    });
    this.#wire.say(stream.id ?? 0, request.block ?? h2Block(request));
    if (body?.isAskedFor === true) {
      await this.#progress.until(() => seen.interims.length > 0 || isClosed, "word about the body");
    }
    if (body !== undefined && !isClosed) this.#sendBody(stream, body);
    await this.#progress.until(() => isClosed, "end of the stream");
    seen.isWhole =
      isEnded && seen.status !== 0 && stream.rstCode === http2.constants.NGHTTP2_NO_ERROR;
    return seen;
  }

  #sendBody(stream: http2.ClientHttp2Stream, body: NonNullable<Request["body"]>): void {
    if (body.text !== "") stream.write(Buffer.from(body.text, "latin1"));
    if (body.then === "reset") {
      // Not close(): that one ends the body first.
      setImmediate(() => addAbortSignal(AbortSignal.abort(), stream));
    } else if (body.then !== "nothing") {
      stream.end();
    }
  }
}

function h2Block(request: Request): Field[] {
  const { target = "/a", host = HOST, fields = [], body } = request;
  const block: Field[] = [
    [":method", methodOf(request)],
    [":scheme", "http"],
    [":path", target],
  ];
  if (host !== null) block.push([":authority", host]);
  block.push(...fields);
  if (body?.length !== undefined) block.push(["content-length", String(body.length)]);
  return block;
}

function statusAndFields(raw: readonly string[]): [number, Field[]] {
  const fields = pairsOfNames(raw);
  const status = fields.find(([name]) => name === ":status")?.[1];
  return [Number(status ?? 0), fields.filter(([name]) => name !== ":status")];
}
