// llhttp, strict, without sockets: bytes in, messages out, as they are pushed. The same parser as
// that of llhttp.ts, reached at its binding, for searches that judge a hundred thousand messages a
// second or must judge a connection while it lives.

import { METHODS } from "node:http";
import { HTTPParser } from "node:_http_common";
import type { HeadParts } from "node:_http_common";

/** The largest head, so that only syntax is judged. */
const HEAD_BYTES_MAX = 1 << 20;

const METHOD_NAMES = methodNames();

/** A message whose head was read. Texts are Latin-1. */
export class ReadMessage {
  method = "";
  target = "";
  status = 0;
  reason = "";
  minor = 0;
  /** Names and values by turns, as they were sent. */
  fields: string[] = [];
  body = "";
  /** It was read to its end. */
  complete = false;
  /** llhttp leaves HTTP after it. */
  upgrade = false;

  /** Value of the first field of this lower-case name, or null. */
  get(nameLower: string): string | null {
    for (let i = 0; i < this.fields.length; i += 2) {
      if (this.fields[i].toLowerCase() === nameLower) return this.fields[i + 1];
    }
    return null;
  }
}

export type ReaderOptions = {
  readonly kind: "request" | "response";
  /** Of responses: the request's method, by the number of final responses before. */
  methodOf?(index: number): string;
  onHead?(message: ReadMessage): void;
  onComplete?(message: ReadMessage): void;
};

/** Reads the messages of one direction of one connection after another. */
export class LlhttpReader {
  /** All whose heads were read, in order; at most the last is not complete. */
  messages: ReadMessage[] = [];
  /** Code of the fault that ended reading, or "". */
  fault = "";
  readonly #options: ReaderOptions;
  readonly #parser = new HTTPParser();
  #fields: string[] = [];
  #target = "";
  #finals = 0;

  constructor(options: ReaderOptions) {
    this.#options = options;
    const parser = this.#parser;
    parser[HTTPParser.kOnHeaders] = (fields: string[], target: string) => {
      // A long head comes in parts.
      this.#fields.push(...fields);
      this.#target += target;
    };
    parser[HTTPParser.kOnHeadersComplete] = this.#onHead.bind(this);
    parser[HTTPParser.kOnBody] = (bytes: Buffer) => {
      this.messages[this.messages.length - 1].body += bytes.latin1Slice();
    };
    parser[HTTPParser.kOnMessageComplete] = () => this.#onComplete();
    this.begin();
  }

  /** Forgets everything: the next bytes begin a connection. */
  begin(): void {
    this.messages = [];
    this.fault = "";
    this.#fields = [];
    this.#target = "";
    this.#finals = 0;
    const { REQUEST, RESPONSE, kLenientNone } = HTTPParser;
    const kind = this.#options.kind === "request" ? REQUEST : RESPONSE;
    this.#parser.initialize(kind, {}, HEAD_BYTES_MAX, kLenientNone);
  }

  push(bytes: Uint8Array): void {
    let rest = bytes;
    while (this.fault === "" && rest.length > 0) {
      const taken = this.#parser.execute(rest);
      if (typeof taken !== "number") this.fault = taken.code;
      // It stops behind an upgrade. Whoever was asked may decline, and then HTTP goes on.
      else rest = taken === 0 ? rest.subarray(rest.length) : rest.subarray(taken);
    }
  }

  /** The connection's orderly end, which may complete the last message. */
  end(): void {
    if (this.fault !== "") return;
    const fault = this.#parser.finish();
    if (fault !== undefined) this.fault = fault.code;
  }

  /** Reads a whole connection. */
  read(text: string): this {
    this.begin();
    this.push(Buffer.from(text, "latin1"));
    this.end();
    return this;
  }

  /** Its memory outside of the heap is not collected. */
  [Symbol.dispose](): void {
    this.#parser.close();
  }

  #onHead(...parts: HeadParts): number {
    const [, minor, fields, method, target, status, reason, upgrade] = parts;
    const message = new ReadMessage();
    message.method = method === undefined ? "" : (METHOD_NAMES.get(method) ?? "");
    message.target = target ?? this.#target;
    message.status = status ?? 0;
    message.reason = reason ?? "";
    message.minor = minor;
    message.fields = fields ?? this.#fields;
    message.upgrade = upgrade;
    this.#fields = [];
    this.#target = "";
    this.messages.push(message);
    this.#options.onHead?.(message);
    if (this.#options.kind === "request") return 0;
    if (message.status < 200) return 1;
    return this.#options.methodOf?.(this.#finals++) === "HEAD" ? 1 : 0;
  }

  #onComplete(): void {
    const message = this.messages[this.messages.length - 1];
    message.complete = true;
    // Trailers come like parts of the next head.
    this.#fields = [];
    this.#target = "";
    this.#options.onComplete?.(message);
  }
}

// The binding numbers methods, and not in the order of their list.
function methodNames(): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  const parser = new HTTPParser();
  for (const name of METHODS) {
    parser.initialize(HTTPParser.REQUEST, {}, HEAD_BYTES_MAX, HTTPParser.kLenientNone);
    parser[HTTPParser.kOnHeadersComplete] = (...[, , , method]: HeadParts) => {
      if (method !== undefined) names.set(method, name);
      return 0;
    };
    const target = name === "CONNECT" ? "a:1" : "*";
    parser.execute(Buffer.from(`${name} ${target} HTTP/1.1\r\n\r\n`));
  }
  parser.close();
  return names;
}
