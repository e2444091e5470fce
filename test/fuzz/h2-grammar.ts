// One side of an HTTP/2 connection by chance: frames that are mostly RFC 9113's, then changed where
// readers are known to differ: in fields, in frames, in their order, and in bytes. What is written
// follows no answer, so that a seed makes the same bytes again. Texts are Latin-1.

import type { Chance } from "../support/chance.ts";
import { END_HEADERS, END_STREAM, FRAME, settings, uint32 } from "../support/h2-raw.ts";
import { PADDED, PREFACE, PRIORITY, PRIORITY_FLAG, PUSH_PROMISE } from "../support/h2-reader.ts";
import { HpackWriter } from "../support/hpack.ts";
import type { Field, Form } from "../support/hpack.ts";
import { Grammar } from "./grammar.ts";
import { FRAME_EDITS, bytesOf, control, editFrames } from "./h2-frames.ts";
import type { FrameEdit, MadeFrame } from "./h2-frames.ts";
import * as words from "./h2-words.ts";

/** A message to send: its fields, the rest in parts, and what follows. */
type Message = {
  readonly fields: readonly Field[];
  readonly body: string;
  readonly trailers: readonly Field[];
};

/** What a client says. */
export type ClientSession = {
  readonly text: string;
  /** Nothing is wrong with it, and it asks this often. */
  readonly cleanRequests: number | null;
};

/** What a server says to one request; clean: nothing is wrong with it. */
export type Answer = { readonly text: string; readonly isClean: boolean };

const KINDS = ["index", "added", "plain", "never"] as const;
/** Less than the window of a connection that nobody has widened (6.9.2). */
const BODY_BYTES_MAX = 50_000;
/** With padding still a frame (4.2). */
const DATA_BYTES_MAX = 16_000;
const WINDOW_MAX = 2 ** 31 - 1;
const ERROR_CODES = [0, 1, 2, 5, 7, 8, 11, 99];
export class H2Grammar {
  readonly #chance: Chance;
  readonly #bytes: Grammar;
  readonly #paths: readonly string[];
  readonly #oddIn: number;
  readonly #noiseIn: number;
  readonly #keptIn: number;
  readonly #editsMax: number;
  readonly #edits: readonly FrameEdit[];
  readonly #sharp: readonly Field[];
  readonly #huffmanIn: number;
  readonly #piecesIn: number;
  /** Something was said that a reader may refuse. */
  #isOdd = false;

  constructor(chance: Chance, paths: readonly string[]) {
    this.#chance = chance;
    this.#bytes = new Grammar(chance);
    this.#paths = paths;
    this.#oddIn = chance.pick([4, 10, 30, 100]);
    this.#noiseIn = chance.pick([2, 5, 20]);
    this.#keptIn = chance.pick([2, 3, 8]);
    this.#editsMax = chance.pick([1, 2, 4, 12]);
    this.#edits = chance.some(FRAME_EDITS);
    this.#sharp = chance.some(words.SHARP_FIELDS);
    this.#huffmanIn = chance.pick([1, 2, 5]);
    this.#piecesIn = chance.pick([2, 4, 20]);
  }

  /** A preface and one to five requests, interleaved. */
  clientSession(): ClientSession {
    const chance = this.#chance;
    this.#isOdd = false;
    const frames = this.#opening();
    const hpack = new HpackWriter();
    const open: MadeFrame[][] = [];
    const count = chance.between(1, 5);
    let [left, stream, room] = [
      count,
      chance.oneIn(8) ? 2 * chance.below(99) + 1 : 1,
      BODY_BYTES_MAX,
    ];
    while (left > 0 || open.length > 0) {
      if (left > 0 && (open.length === 0 || chance.oneIn(2))) {
        left--;
        const message = this.#request(room);
        room -= message.body.length;
        frames.push(...this.#head(hpack, stream, message));
        open.push(this.#rest(hpack, stream, message));
        stream += chance.oneIn(8) ? 2 * chance.between(1, 5) : 2;
      } else {
        const rest = chance.pick(open);
        frames.push(...rest.splice(0, 1));
      }
      // What an empty body leaves is nothing.
      for (const done of open.filter((rest) => rest.length === 0))
        open.splice(open.indexOf(done), 1);
      if (chance.oneIn(this.#noiseIn)) frames.push(this.#noise(stream));
    }
    const { text, isChanged } = this.#finish(frames, PREFACE);
    return { text, cleanRequests: this.#isOdd || isChanged ? null : count };
  }

  /** What a server says first. */
  serverOpening(): Answer {
    this.#isOdd = false;
    const frames = this.#opening();
    const given = { text: Buffer.concat(frames.map(bytesOf)).latin1Slice(), isChanged: false };
    const { text, isChanged } = this.#chance.oneIn(10) ? this.#finish(frames, "") : given;
    return { text, isClean: !this.#isOdd && !isChanged };
  }

  /** A response, `mark` in its fields and its body, with interim ones before and others' frames between. */
  answer(hpack: HpackWriter, given: { stream: number; method: string; mark: string }): Answer {
    const chance = this.#chance;
    const { stream, method, mark } = given;
    this.#isOdd = false;
    const frames: MadeFrame[] = [];
    const say = (message: Message) => {
      frames.push(...this.#head(hpack, stream, message), ...this.#rest(hpack, stream, message));
    };
    while (chance.oneIn(8)) {
      const status = chance.oneIn(this.#oddIn)
        ? this.#odd(chance.pick(["101", "199", "1"]))
        : "103";
      const ends = chance.oneIn(this.#oddIn) && this.#odd(true);
      const fields: Field[] = [
        [":status", status],
        ["link", "</a>"],
      ];
      frames.push(...this.#block(hpack, { stream, fields, ends }));
    }
    say(this.#response(method, mark));
    while (chance.oneIn(this.#noiseIn)) {
      frames.splice(chance.below(frames.length + 1), 0, this.#noise(stream + 2));
      // Within a header block no other frame may come.
      if (frames.some(({ type }) => type === FRAME.CONTINUATION)) this.#isOdd = true;
    }
    if (chance.oneIn(2 * this.#oddIn)) say(this.#odd(this.#response(method, mark)));
    const { text, isChanged } = this.#finish(frames, "");
    return { text, isClean: !this.#isOdd && !isChanged };
  }

  #response(method: string, mark: string): Message {
    const chance = this.#chance;
    const isOdd = chance.oneIn(this.#oddIn);
    const status = isOdd ? this.#odd(chance.pick(words.STATUSES_ODD)) : chance.pick(words.STATUSES);
    const fields: Field[] = [
      [":status", status],
      ["x-mark", mark],
    ];
    for (let left = chance.below(4); left > 0; left--) fields.push(chance.pick(words.PLAIN_FIELDS));
    const isEmpty = method === "HEAD" || status === "204" || status === "304";
    let body = isEmpty && !(chance.oneIn(this.#oddIn) && this.#odd(true)) ? "" : mark;
    if (body !== "") body += chance.oneIn(8) ? words.BODY_BIG : chance.pick(words.BODIES);
    if (chance.oneIn(3) && !isEmpty) {
      const length = body.length + (chance.oneIn(20) ? this.#odd(chance.pick([-1, 1])) : 0);
      fields.push(["content-length", String(length)]);
    }
    while (chance.oneIn(this.#oddIn)) {
      fields.splice(chance.below(fields.length + 1), 0, this.#odd(chance.pick(this.#sharp)));
    }
    return { fields, body, trailers: isEmpty ? [] : this.#trailers() };
  }

  // The frames as bytes, as they are or with some of them changed.
  #finish(made: readonly MadeFrame[], opening: string): { text: string; isChanged: boolean } {
    const chance = this.#chance;
    const frames = [...made];
    let isChanged = false;
    if (!chance.oneIn(this.#keptIn)) {
      isChanged = true;
      for (let left = chance.between(1, this.#editsMax); left > 0; left--)
        editFrames(frames, chance.pick(this.#edits), {
          chance,
          noise: this.#noise(chance.pick([1, 3, 5, 7])),
        });
    }
    const text = opening + Buffer.concat(frames.map(bytesOf)).latin1Slice();
    if (!isChanged || !chance.oneIn(3)) return { text, isChanged };
    return { text: this.#bytes.mutate(text), isChanged };
  }

  // Settings of a side, and a wide window.
  #opening(): MadeFrame[] {
    const chance = this.#chance;
    const pairs: number[] = [];
    if (chance.oneIn(3)) pairs.push(1, chance.pick([0, 4_096, 65_536]));
    if (chance.oneIn(3)) pairs.push(2, 0);
    if (chance.oneIn(3)) pairs.push(3, chance.pick([0, 1, 100]));
    if (chance.oneIn(8)) pairs.push(6, this.#odd(chance.pick([0, 100, 8_192])));
    if (chance.oneIn(30)) pairs.push(chance.below(12), this.#odd(chance.pick([0, 1, 2 ** 32 - 1])));
    const isShut = chance.oneIn(10);
    pairs.push(4, isShut ? this.#odd(chance.pick([0, 1, 65_535])) : 2 ** 20);
    const frames = [control(FRAME.SETTINGS, 0, settings(...pairs))];
    if (!isShut) frames.push(control(FRAME.WINDOW_UPDATE, 0, uint32(2 ** 24)));
    return frames;
  }

  #request(room: number): Message {
    const chance = this.#chance;
    if (chance.oneIn(25)) return this.#odd(this.#webSocket());
    const isOdd = chance.oneIn(this.#oddIn);
    const method = isOdd
      ? this.#odd(chance.pick(["CONNECT", "get", "", "G T"]))
      : chance.pick(words.METHODS);
    const path = chance.oneIn(this.#oddIn)
      ? this.#odd(this.#bytes.target())
      : chance.pick(this.#paths);
    const fields: Field[] = [
      [":method", method],
      [":scheme", chance.pick(["http", "https"])],
      [":path", path],
      [":authority", chance.pick(words.AUTHORITIES)],
    ];
    if (chance.oneIn(20)) fields.splice(chance.below(4), 1, ["x-a", this.#odd("b")]);
    for (let left = chance.below(4); left > 0; left--) fields.push(chance.pick(words.PLAIN_FIELDS));
    let body = method === "GET" || chance.oneIn(3) ? "" : chance.pick(words.BODIES);
    if (body !== "" && chance.oneIn(8)) body = words.BODY_BIG;
    if (body.length > room) body = "";
    if (chance.oneIn(3) && method !== "GET") {
      const length = body.length + (chance.oneIn(20) ? this.#odd(chance.below(3)) : 0);
      fields.push(["content-length", String(length)]);
    }
    while (chance.oneIn(this.#oddIn)) {
      const at = chance.oneIn(2) ? fields.length : chance.below(fields.length + 1);
      fields.splice(at, 0, this.#odd(chance.pick(this.#sharp)));
    }
    return { fields, body, trailers: this.#trailers() };
  }

  #trailers(): readonly Field[] {
    const chance = this.#chance;
    if (!chance.oneIn(10)) return [];
    return chance.oneIn(this.#oddIn) ? [this.#odd(chance.pick(this.#sharp))] : words.TRAILERS;
  }

  // An extended CONNECT (RFC 8441), and sometimes a frame for the one at its other end.
  #webSocket(): Message {
    const fields: Field[] = [
      [":method", "CONNECT"],
      [":protocol", "websocket"],
      [":scheme", "http"],
      [":path", "/socket"],
      [":authority", "a"],
      ["sec-websocket-version", "13"],
    ];
    return { fields, body: this.#chance.oneIn(2) ? "\x81\x80abcd" : "", trailers: [] };
  }

  // HEADERS and what continues it.
  #head(hpack: HpackWriter, stream: number, message: Message): MadeFrame[] {
    const ends = message.body === "" && message.trailers.length === 0;
    return this.#block(hpack, { stream, fields: message.fields, ends });
  }

  // DATA and trailers; none when the head ends the stream.
  #rest(hpack: HpackWriter, stream: number, { body, trailers }: Message): MadeFrame[] {
    const chance = this.#chance;
    const frames: MadeFrame[] = [];
    let at = 0;
    while (at < body.length) {
      const most = Math.min(body.length - at, DATA_BYTES_MAX);
      const size = chance.oneIn(this.#piecesIn) ? chance.between(0, most) : most;
      const data = Buffer.from(body.slice(at, at + size), "latin1");
      at += size;
      const flags = at === body.length && trailers.length === 0 ? END_STREAM : 0;
      frames.push(this.#padded({ type: FRAME.DATA, flags, stream, payload: data }));
    }
    if (trailers.length > 0) {
      // Written when the message is made: an entry of it in the table would be referred to too soon.
      const fields = trailers;
      frames.push(...this.#block(hpack, { stream, fields, ends: true, isApart: true }));
    }
    return frames;
  }

  #block(
    hpack: HpackWriter,
    given: { stream: number; fields: readonly Field[]; ends: boolean; isApart?: boolean },
  ): MadeFrame[] {
    const chance = this.#chance;
    const { stream, fields, ends, isApart = false } = given;
    const parts: Buffer[] = [];
    if (!isApart && chance.oneIn(15)) parts.push(hpack.resize(chance.pick([0, 100, 4_096])));
    for (const field of fields) parts.push(hpack.write(field, this.#form(isApart)));
    if (chance.oneIn(8 * this.#oddIn)) {
      parts.splice(chance.below(parts.length + 1), 0, this.#odd(chance.pick(words.BROKEN_BLOCKS)));
    }
    const block = Buffer.concat(parts);
    const cuts = chance.oneIn(this.#piecesIn) && !isApart ? chance.between(1, 4) : 0;
    const places = Array.from({ length: cuts }, () => chance.below(block.length + 1));
    places.sort((a, b) => a - b);
    const pieces = [0, ...places].map((from, i) => block.subarray(from, places[i] ?? block.length));
    return pieces.map((payload, i) => {
      const flags = i === pieces.length - 1 ? END_HEADERS : 0;
      if (i > 0) return { type: FRAME.CONTINUATION, flags, stream, payload };
      const own = { type: FRAME.HEADERS, flags: flags | (ends ? END_STREAM : 0), stream, payload };
      return this.#padded(this.#prioritized(own));
    });
  }

  #form(isApart: boolean): Form {
    const chance = this.#chance;
    const kind = isApart ? "plain" : chance.pick(KINDS);
    return { kind, knownName: !isApart && chance.oneIn(2), huffman: chance.oneIn(this.#huffmanIn) };
  }

  #prioritized(own: MadeFrame): MadeFrame {
    if (!this.#chance.oneIn(10)) return own;
    const payload = Buffer.concat([uint32(0), Buffer.of(16), own.payload]);
    return { ...own, flags: own.flags | PRIORITY_FLAG, payload };
  }

  #padded(own: MadeFrame): MadeFrame {
    const chance = this.#chance;
    if (!chance.oneIn(8)) return own;
    const padding = chance.pick([0, 1, 17]);
    const said = chance.oneIn(4 * this.#oddIn) ? this.#odd(chance.below(256)) : padding;
    const payload = Buffer.concat([Buffer.of(said), own.payload, Buffer.alloc(padding)]);
    return { ...own, flags: own.flags | PADDED, payload };
  }

  // A frame beside the messages; `stream` is the next one.
  #noise(stream: number): MadeFrame {
    const chance = this.#chance;
    const known = Math.max(1, stream - 2 * chance.between(1, 3));
    switch (chance.below(chance.oneIn(this.#oddIn) ? 12 : 5)) {
      case 0:
        return control(FRAME.PING, 0, Buffer.alloc(8, 7));
      case 1:
        return control(FRAME.SETTINGS, 0, Buffer.alloc(0));
      case 2:
        return control(PRIORITY, stream, Buffer.concat([uint32(0), Buffer.of(1)]));
      case 3:
        return control(FRAME.WINDOW_UPDATE, 0, uint32(chance.between(1, 1_000)));
      case 4:
        return control(chance.between(10, 255), 0, Buffer.alloc(chance.below(30), 1));
      case 5:
        return this.#odd(control(FRAME.GOAWAY, 0, Buffer.concat([uint32(0), this.#errorCode()])));
      case 6:
        return this.#odd(control(FRAME.WINDOW_UPDATE, known, uint32(chance.pick([0, WINDOW_MAX]))));
      case 7:
        return this.#odd(control(PUSH_PROMISE, known, Buffer.concat([uint32(2), Buffer.of(0x82)])));
      case 8:
        return this.#odd({ ...control(FRAME.SETTINGS, 0, Buffer.alloc(0)), flags: 1 });
      case 9:
        return this.#odd(control(FRAME.DATA, known, Buffer.from("stray")));
      default:
        return this.#odd(control(FRAME.RST_STREAM, known, this.#errorCode()));
    }
  }

  #errorCode(): Buffer {
    return uint32(this.#chance.pick(ERROR_CODES));
  }

  #odd<T>(what: T): T {
    this.#isOdd = true;
    return what;
  }
}
