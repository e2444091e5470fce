// llhttp, strict, as a judge of HTTP/1.1 messages: the parser of node:http, fed over sockets in
// memory. A message is given whole, then the input ends, so that every verdict comes at once.

import http from "node:http";
import type { IncomingMessage } from "node:http";
import { Duplex } from "node:stream";

/** The largest head, so that only syntax is judged. */
const HEAD_BYTES_MAX = 1 << 20;

/** What llhttp made of a message. Texts are Latin-1. */
export type Judgement =
  | { readonly kind: "refused"; readonly why: string }
  | {
      readonly kind: "read";
      readonly method: string;
      readonly target: string;
      readonly status: number;
      readonly reason: string;
      readonly minor: number;
      /** Names and values by turns, as they were sent. */
      readonly fields: readonly string[];
      /** The body, or null when it is malformed or the input ended within it. */
      readonly body: string | null;
    };

/** A socket that gives the bytes, ends, and swallows what is written to it. */
function socketOf(bytes: string): Duplex {
  const socket = new Duplex({
    read: () => {},
    write: (_chunk, _encoding, done) => done(),
  });
  socket.on("error", () => {});
  socket.push(Buffer.from(bytes, "latin1"));
  socket.push(null);
  return socket;
}

/** Collects the body of a message whose head was read. */
function collect(message: IncomingMessage, settle: (judgement: Judgement) => void): void {
  let body = "";
  const judge = (isWhole: boolean) =>
    settle({
      kind: "read",
      method: message.method ?? "",
      target: message.url ?? "",
      status: message.statusCode ?? 0,
      reason: message.statusMessage ?? "",
      minor: message.httpVersionMinor,
      fields: message.rawHeaders,
      body: isWhole ? body : null,
    });
  message.on("data", (chunk: Buffer) => (body += chunk.latin1Slice()));
  message.on("error", () => {});
  message.on("end", () => judge(message.complete));
  message.on("close", () => judge(false));
}

/** Judges requests. */
export class RequestJudge {
  readonly #server: http.Server;
  readonly #waiting = new WeakMap<object, (judgement: Judgement) => void>();

  constructor() {
    this.#server = http.createServer({
      insecureHTTPParser: false,
      maxHeaderSize: HEAD_BYTES_MAX,
    });
    this.#server.maxHeadersCount = 0;
    const onRequest = (message: IncomingMessage) => this.#onRequest(message);
    // Expectations are not syntax: whatever is expected, the request is only read.
    this.#server.on("request", onRequest);
    this.#server.on("checkContinue", onRequest);
    this.#server.on("checkExpectation", onRequest);
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      this.#waiting.get(socket)?.({ kind: "refused", why: error.code ?? error.message });
      socket.destroy();
    });
  }

  read(bytes: string): Promise<Judgement> {
    const socket = socketOf(bytes);
    return new Promise((resolve) => {
      this.#waiting.set(socket, resolve);
      // Without an event of its own where node:http itself answers, as to a missing Host.
      socket.on("close", () => {
        if (this.#waiting.has(socket)) resolve({ kind: "refused", why: "closed" });
      });
      this.#server.emit("connection", socket);
    });
  }

  #onRequest(message: IncomingMessage): void {
    const { socket } = message;
    const resolve = this.#waiting.get(socket);
    if (resolve === undefined) return;
    // From here on the head is read: what is wrong behind it shows in the body.
    this.#waiting.delete(socket);
    collect(message, (judgement) => {
      socket.destroy();
      resolve(judgement);
    });
  }
}

/** Judges a response to a request with this method; an informational one is read by itself. */
export function judgeResponse(bytes: string, method: string): Promise<Judgement> {
  return new Promise((resolve) => {
    const socket = socketOf(bytes);
    const request = http.request({
      method,
      path: "/",
      headers: { host: "a" },
      maxHeaderSize: HEAD_BYTES_MAX,
      insecureHTTPParser: false,
      createConnection: () => socket,
    });
    request.maxHeadersCount = 0;
    request.on("response", (message) => collect(message, resolve));
    request.on("information", (head) =>
      resolve({
        kind: "read",
        method: "",
        target: "",
        status: head.statusCode,
        reason: head.statusMessage,
        minor: head.httpVersionMinor,
        fields: head.rawHeaders,
        body: "",
      }),
    );
    request.on("upgrade", (message, _socket, _head) => collect(message, resolve));
    request.on("error", (error: NodeJS.ErrnoException) =>
      resolve({ kind: "refused", why: error.code ?? error.message }),
    );
    request.end();
  });
}
