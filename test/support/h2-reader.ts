// HTTP/2 as RFC 9113 has it, read from bytes without the library that the gateway uses: frames in,
// messages out. It is told whatever one side of a connection said and stops where that side broke the
// protocol; what a message says wrongly is kept with it. Section numbers are those of RFC 9113.

import { isFieldValue, isToken } from "../../gateway/wire/chars.ts";
import { HpackReader } from "./hpack.ts";
import type { Field } from "./hpack.ts";
import { END_HEADERS, END_STREAM, FRAME } from "./h2-raw.ts";

export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
export const PADDED = 8;
export const PRIORITY_FLAG = 32;
export const PRIORITY = 2;
export const PUSH_PROMISE = 5;

const ACK = 1;
const HEAD_BYTES = 9;
const PAYLOAD_BYTES_MAX = 16_384;
const PRIORITY_BYTES = 5;
const WINDOW_MAX = 2 ** 31 - 1;
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"],
]);
const REQUEST_PSEUDO = [":method", ":scheme", ":path", ":authority", ":protocol"];

/** A request or a response, from the head that was final on. */
export class H2Message {
  readonly stream: number;
  fields: readonly Field[] = [];
  body = "";
  trailers: readonly Field[] = [];
  /** It was read to its end. */
  complete = false;
  /** Its head was read, and nothing is wrong with that. */
  hasGoodHead = false;
  /** Its sender took it back before its end. */
  wasReset = false;
  /** Why nobody may act on it (8.1.1), or "". */
  fault = "";

  constructor(stream: number) {
    this.stream = stream;
  }

  /** Value of the first field of this name, or null. */
  get(name: string): string | null {
    return this.fields.find((field) => field[0] === name)?.[1] ?? null;
  }

  get hasHead(): boolean {
    return this.fields.length > 0;
  }

  /** It is whole, and nothing is wrong with it. */
  get isGood(): boolean {
    return this.complete && this.fault === "";
  }
}

type Frame = {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
};

type OpenBlock = {
  readonly stream: number;
  readonly endStream: boolean;
  /** No message begins with it. */
  readonly isPassed: boolean;
  readonly parts: Buffer[];
};

export type H2ReaderOptions = {
  /** What the side that is read sends. */
  readonly kind: "request" | "response";
  /** Of responses: the method of the request on the stream; null: there was none. */
  methodOf?(stream: number): string | null;
};

/** Reads one side of one connection. */
export class H2Reader {
  /** By stream, in the order of their heads. */
  readonly messages = new Map<number, H2Message>();
  /** How the protocol was broken; nothing behind it is read. */
  fault = "";
  /** The side said goodbye. */
  goneAway = false;
  readonly #options: H2ReaderOptions;
  readonly #hpack = new HpackReader();
  #bytes = Buffer.alloc(0);
  #preface: string;
  #isFirst = true;
  #block: OpenBlock | null = null;
  #streamMax = 0;

  constructor(options: H2ReaderOptions) {
    this.#options = options;
    this.#preface = options.kind === "request" ? PREFACE : "";
  }

  push(bytes: Uint8Array): void {
    if (this.fault !== "") return;
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    try {
      this.#read();
    } catch (error) {
      this.fault = (error as Error).message;
    }
  }

  /** What has come of a frame of data that has not ended, on this stream. */
  pendingData(stream: number): string {
    const bytes = this.#bytes;
    if (this.fault !== "" || bytes.length <= HEAD_BYTES || bytes[3] !== FRAME.DATA) return "";
    if (bytes.readUInt32BE(5) % 2 ** 31 !== stream) return "";
    const message = this.messages.get(stream);
    if (message === undefined || message.complete || message.wasReset) return "";
    const isPadded = (bytes[4] & PADDED) !== 0;
    const dataEnd = HEAD_BYTES + bytes.readUIntBE(0, 3) - (isPadded ? bytes[HEAD_BYTES] : 0);
    return bytes.subarray(HEAD_BYTES + (isPadded ? 1 : 0), dataEnd).latin1Slice();
  }

  /** Nothing more comes: the data of a frame that was cut has come all the same. */
  end(): void {
    for (const message of this.messages.values()) message.body += this.pendingData(message.stream);
    this.#bytes = Buffer.alloc(0);
  }

  #read(): void {
    if (this.#preface !== "") {
      const length = Math.min(this.#preface.length, this.#bytes.length);
      mustBe(this.#bytes.latin1Slice(0, length) === this.#preface.slice(0, length), "no preface");
      if (length < this.#preface.length) return;
      this.#preface = "";
      this.#bytes = this.#bytes.subarray(length);
    }
    while (this.#bytes.length >= HEAD_BYTES) {
      const length = this.#bytes.readUIntBE(0, 3);
      mustBe(length <= PAYLOAD_BYTES_MAX, "a frame is too long");
      const end = HEAD_BYTES + length;
      if (this.#bytes.length < end) return;
      const [type, flags] = [this.#bytes[3], this.#bytes[4]];
      const stream = this.#bytes.readUInt32BE(5) % 2 ** 31;
      const payload = this.#bytes.subarray(HEAD_BYTES, end);
      this.#bytes = this.#bytes.subarray(end);
      this.#onFrame({ type, flags, stream, payload });
    }
  }

  #onFrame(frame: Frame): void {
    const { type, stream, payload } = frame;
    if (this.#isFirst) mustBe(type === FRAME.SETTINGS, "no settings first");
    this.#isFirst = false;
    mustBe((this.#block !== null) === (type === FRAME.CONTINUATION), "a broken header block");
    switch (type) {
      case FRAME.DATA:
        return this.#onData(frame);
      case FRAME.HEADERS:
        return this.#onHeaders(frame);
      case FRAME.CONTINUATION:
        return this.#onContinuation(frame);
      case FRAME.RST_STREAM:
        // An even stream is one that was promised, and is known to who refuses it only.
        mustBe(payload.length === 4 && stream !== 0, "a bad reset");
        if (stream % 2 === 1) mustBe(this.#isKnown(stream), "a reset of no stream");
        return this.#onReset(stream);
      case FRAME.SETTINGS:
        return checkSettings(frame);
      case FRAME.PING:
        return mustBe(payload.length === 8 && stream === 0, "a bad ping");
      case FRAME.GOAWAY:
        mustBe(payload.length >= 8 && stream === 0, "a bad goaway");
        this.goneAway = true;
        return;
      case FRAME.WINDOW_UPDATE:
        return mustBe(payload.length === 4 && this.#isOpened(stream), "a bad window update");
      case PUSH_PROMISE:
        return this.#onPromise(frame);
      default:
    }
  }

  #onHeaders({ flags, stream, payload }: Frame): void {
    mustBe(stream % 2 === 1, "a head on a stream that is not a client's");
    let content = unpadded(flags, payload);
    if ((flags & PRIORITY_FLAG) !== 0) {
      mustBe(content.length >= PRIORITY_BYTES, "no priority");
      content = content.subarray(PRIORITY_BYTES);
    }
    let isPassed = false;
    if (this.#options.kind === "request") {
      isPassed = stream < this.#streamMax && !this.messages.has(stream);
      this.#streamMax = Math.max(this.#streamMax, stream);
    } else mustBe(this.#isKnown(stream), "a response to nothing");
    const endStream = (flags & END_STREAM) !== 0;
    this.#block = { stream, endStream, isPassed, parts: [content] };
    if ((flags & END_HEADERS) !== 0) this.#closeBlock(this.#block);
  }

  // To be refused, which is no fault as long as the server has not read our settings.
  #onPromise({ flags, stream, payload }: Frame): void {
    mustBe(this.#options.kind === "response" && this.#isKnown(stream), "a push");
    const content = unpadded(flags, payload);
    mustBe(content.length >= 4, "a push of nothing");
    this.#block = { stream, endStream: false, isPassed: true, parts: [content.subarray(4)] };
    if ((flags & END_HEADERS) !== 0) this.#closeBlock(this.#block);
  }

  #onContinuation({ flags, stream, payload }: Frame): void {
    const block = this.#block as OpenBlock;
    mustBe(stream === block.stream, "a header block goes on elsewhere");
    block.parts.push(payload);
    if ((flags & END_HEADERS) !== 0) this.#closeBlock(block);
  }

  #closeBlock({ stream, endStream, isPassed, parts }: OpenBlock): void {
    this.#block = null;
    const read = this.#hpack.read(Buffer.concat(parts));
    if (typeof read === "string") throw new Error(read);
    const fields = read.filter((field) => !isPassedOver(field));
    const message = this.#message(stream);
    // Behind the end nothing counts, nor on a stream that was passed over and so is closed (5.1.1).
    if (message.complete || message.wasReset || isPassed) return;
    if (message.hasHead) {
      message.trailers = fields;
      message.fault ||= trailerFault(fields, endStream);
    } else if (this.#options.kind === "request") {
      message.fields = fields;
      message.fault ||= requestFault(fields);
      message.hasGoodHead = message.fault === "";
    } else {
      const status = fields.find(([name]) => name === ":status")?.[1] ?? "";
      message.fault ||= responseFault(fields, endStream);
      if (status.startsWith("1") && message.fault === "") return;
      message.fields = fields;
      message.hasGoodHead = message.fault === "";
    }
    if (endStream) this.#complete(message);
  }

  #onData({ flags, stream, payload }: Frame): void {
    mustBe(stream !== 0 && this.#isKnown(stream), "data of no stream");
    const message = this.#message(stream);
    // What comes for nobody is not looked into.
    if (message.complete || message.wasReset || message.fault !== "") return;
    // Nor into what comes behind an early answer.
    if (!isPaddedWell(flags, payload)) {
      message.fault ||= "more padding than frame";
      return;
    }
    const content = unpadded(flags, payload);
    if (!message.hasHead) message.fault ||= "data before a head";
    message.body += content.latin1Slice();
    if ((flags & END_STREAM) !== 0) this.#complete(message);
  }

  #onReset(stream: number): void {
    const message = this.#message(stream);
    if (!message.complete) message.wasReset = true;
  }

  #complete(message: H2Message): void {
    message.complete = true;
    const length = message.get("content-length");
    const method = this.#options.methodOf?.(message.stream);
    const hasNoBody = method === "HEAD" || message.get(":status") === "304";
    if (hasNoBody && message.body !== "") message.fault ||= "a body where none may be";
    if (length === null || hasNoBody || message.fault !== "") return;
    if (Number(length) !== message.body.length) message.fault = "another length than was declared";
  }

  #message(stream: number): H2Message {
    let message = this.messages.get(stream);
    if (message === undefined) this.messages.set(stream, (message = new H2Message(stream)));
    return message;
  }

  #isKnown(stream: number): boolean {
    if (this.#options.kind === "request") return stream % 2 === 1 && stream <= this.#streamMax;
    return (this.#options.methodOf?.(stream) ?? null) !== null;
  }

  // A server's own streams are even, once they are promised.
  #isOpened(stream: number): boolean {
    return stream % 2 === 0 || this.#isKnown(stream);
  }
}

function checkSettings({ flags, stream, payload }: Frame): void {
  mustBe(stream === 0 && payload.length % 6 === 0, "bad settings");
  if ((flags & ACK) !== 0) mustBe(payload.length === 0, "an acknowledgement with settings");
  // Of one that is said twice only the last is judged, as nghttp2 does.
  const values = new Map<number, number>();
  for (let at = 0; at < payload.length; at += 6) {
    values.set(payload.readUInt16BE(at), payload.readUInt32BE(at + 2));
  }
  mustBe((values.get(2) ?? 0) <= 1, "a bad setting of pushes");
  mustBe((values.get(4) ?? 0) <= WINDOW_MAX, "a bad window");
  const frameBytes = values.get(5) ?? PAYLOAD_BYTES_MAX;
  mustBe(frameBytes >= PAYLOAD_BYTES_MAX && frameBytes < 2 ** 24, "a bad size of frames");
}

function isPaddedWell(flags: number, payload: Buffer): boolean {
  return (flags & PADDED) === 0 || (payload.length > 0 && payload[0] < payload.length);
}

function unpadded(flags: number, payload: Buffer): Buffer {
  if ((flags & PADDED) === 0) return payload;
  mustBe(isPaddedWell(flags, payload), "more padding than frame");
  return payload.subarray(1, payload.length - payload[0]);
}

// What makes a message malformed.

function requestFault(fields: readonly Field[]): string {
  const pseudo = new Map<string, string>();
  for (const [name, value] of fields) {
    if (!REQUEST_PSEUDO.includes(name)) continue;
    if (pseudo.has(name)) return `two ${name}`;
    pseudo.set(name, value);
  }
  const common = fieldsFault(fields, REQUEST_PSEUDO);
  if (common !== "") return common;
  const isTunnel = pseudo.has(":protocol");
  if (pseudo.get(":method") === "CONNECT" && !isTunnel) return "a tunnel to anywhere";
  for (const name of [":method", ":scheme", ":path"]) {
    if ((pseudo.get(name) ?? "") === "") return `no ${name}`;
  }
  if (isTunnel && pseudo.get(":method") !== "CONNECT") return "a protocol without CONNECT";
  const hosts = fields.filter(([name]) => name === "host");
  const [authority = hosts[0]?.[1]] = [pseudo.get(":authority")];
  if (hosts.length > 1 || (hosts.length === 1 && hosts[0][1] !== authority)) return "two hosts";
  return "";
}

function responseFault(fields: readonly Field[], endStream: boolean): string {
  const statuses = fields.filter(([name]) => name === ":status");
  if (statuses.length !== 1 || !/^\d{3}$/.test(statuses[0][1])) return "no one status";
  if (statuses[0][1].startsWith("1") && endStream) return "an interim response with an end";
  if (statuses[0][1] === "101") return "a switch of protocols";
  return fieldsFault(fields, [":status"]);
}

function trailerFault(fields: readonly Field[], endStream: boolean): string {
  if (!endStream) return "trailers without an end";
  return fields.some(([name]) => name.startsWith(":")) ? "a pseudo-header in trailers" : "";
}

function fieldsFault(fields: readonly Field[], pseudo: readonly string[]): string {
  let isRegular = false;
  const lengths: string[] = [];
  for (const [name, value] of fields) {
    if (!isFieldValue(value)) return `a bad value of ${name}`;
    if (name.startsWith(":")) {
      if (isRegular || !pseudo.includes(name)) return `${name} where it may not be`;
      continue;
    }
    isRegular = true;
    if (!isToken(name) || name !== name.toLowerCase()) return `a bad name, ${name}`;
    if (CONNECTION_FIELDS.has(name)) return `${name}, which is a connection's`;
    if (name === "te" && value.toLowerCase() !== "trailers") return "a coding in te";
    if (name === "content-length") lengths.push(value);
  }
  if (lengths.some((length) => !/^\d+$/.test(length)) || lengths.length > 1) return "a bad length";
  return "";
}

// A field that cannot be one makes the message malformed (8.2.1), but nghttp2 leaves it out and goes on,
// unless a capital is the first thing that is wrong with its name, and node:http2 does not tell.
function isPassedOver([name, value]: Field): boolean {
  if (name.startsWith(":")) return false;
  const wrong = [...name].find((char) => !isToken(char) || /[A-Z]/.test(char));
  if (wrong !== undefined || name === "") return wrong === undefined || !/[A-Z]/.test(wrong);
  return !isFieldValue(value) || /^[ \t]|[ \t]$/.test(value);
}

function mustBe(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}
