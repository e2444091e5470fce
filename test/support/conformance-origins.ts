// An origin of either protocol that answers exactly as a case says, sound or not, and reports what it got
// in terms of neither. Requests are read by llhttp, strict, and by nghttp2.

import http2 from "node:http2";
import type { ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import net from "node:net";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";
import type { Answer, AnswerBody, Field, Protocol } from "./conformance-case.ts";
import { chunkOf, linesOf, pairsOfNames } from "./conformance-clients.ts";
import { Tampered } from "./h2-tampered.ts";
import { LlhttpReader } from "./llhttp-reader.ts";
import type { ReadMessage } from "./llhttp-reader.ts";

/** A request as an origin got it. */
export type Received = {
  /** Number of the connection. */
  readonly connection: number;
  readonly method: string;
  readonly target: string;
  readonly host: string | null;
  readonly fields: readonly Field[];
  readonly body: string;
  readonly isComplete: boolean;
};

export type Script = {
  /** The answer to a request. */
  answerTo(target: string): Answer;
  /** Resolves once the client has seen so many bytes of a body. */
  untilSeen(bytes: number): Promise<void>;
};

export type Origin = {
  readonly address: string;
  received(): readonly Received[];
  /** What the reader refused, and on which connection. */
  readonly faults: readonly Fault[];
};

export type Fault = { readonly connection: number; readonly code: string };

/** The body of an answer that names none. */
export const HELLO: AnswerBody = { text: "hello", as: "length" };

export async function startScripted(
  t: TestContext,
  protocol: Protocol,
  script: Script,
): Promise<Origin> {
  const got: (() => Received)[] = [];
  const faults: Fault[] = [];
  const sockets: Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const number = sockets.push(socket);
    socket.on("error", () => {});
    const connection = { number, socket, script, got, faults };
    if (protocol === "h1") serveH1(connection);
    else serveH2(connection);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { address: `127.0.0.1:${port}`, faults, received: () => got.map((each) => each()) };
}

type Connection = {
  readonly number: number;
  readonly socket: Socket;
  readonly script: Script;
  readonly got: (() => Received)[];
  readonly faults: Fault[];
};

function serveH1({ number, socket, script, got, faults }: Connection): void {
  const answers = new Map<ReadMessage, Answer>();
  const answer = (message: ReadMessage, when: Answer["when"]) => {
    const wanted = answers.get(message);
    if (wanted !== undefined && (wanted.when ?? "end") === when) {
      void answerH1(socket, wanted, script).catch(() => {});
    }
  };
  const reader = new LlhttpReader({
    kind: "request",
    onHead: (message) => {
      got.push(() => receivedH1(number, message));
      answers.set(message, script.answerTo(message.target));
      answer(message, "head");
    },
    onComplete: (message) => answer(message, "end"),
  });
  socket.on("data", (chunk: Buffer) => {
    reader.push(chunk);
    if (reader.fault !== "") faults.push({ connection: number, code: reader.fault });
  });
  // A gateway that gives a request up closes its connection.
  socket.on("end", () => socket.destroy());
}

function receivedH1(connection: number, message: ReadMessage): Received {
  const { method, target, body, complete: isComplete } = message;
  const fields = pairsOfNames(message.fields);
  const isFraming = ([name]: Field) => name === "host" || name === "transfer-encoding";
  return {
    connection,
    method,
    target,
    host: message.get("host"),
    fields: fields.filter((field) => !isFraming(field)),
    body,
    isComplete,
  };
}

async function answerH1(socket: Socket, answer: Answer, script: Script): Promise<void> {
  if (answer.stops === true) socket.pause();
  const { body = HELLO, then } = answer;
  socket.write(answer.bytes ?? textOf(answer), "latin1");
  if (then !== undefined) await script.untilSeen(seenOf(answer));
  if (then === "reset") socket.resetAndDestroy();
  else if (then === "end" || then === "gone") socket.end();
  else if (body?.as === "close" && then === undefined) socket.end();
}

// What must have been seen before a failure is staged: all that comes before it.
function seenOf({ body = HELLO, status = 200, bytes }: Answer): number {
  return status === null || bytes !== undefined ? 0 : (body?.text.length ?? 0);
}

function textOf(answer: Answer): string {
  const { interims = [], status = 200, fields = [], body = HELLO, trailers = [], then } = answer;
  let text = "";
  for (const each of interims) {
    text += `HTTP/1.1 ${each.status} x\r\n${linesOf(each.fields ?? [])}\r\n`;
  }
  if (status === null) return text;
  text += `HTTP/1.1 ${status} x\r\n${linesOf(fields)}`;
  if (body === null) return `${text}\r\n`;
  if (body.as === "close") return `${text}\r\n${body.text}`;
  if (body.as === "length") {
    return `${text}content-length: ${body.length ?? body.text.length}\r\n\r\n${body.text}`;
  }
  text += `transfer-encoding: chunked\r\n\r\n${body.text === "" ? "" : chunkOf(body.text)}`;
  return then === undefined ? `${text}0\r\n${linesOf(trailers)}\r\n` : text;
}

function serveH2({ number: connection, socket, script, got }: Connection): void {
  const wire = new Tampered(socket, "server");
  const session: ServerHttp2Session = http2.performServerHandshake(wire);
  // What nghttp2 refuses of a request never becomes one.
  session.on("error", () => {});
  session.on("stream", (stream, _headers, _flags, raw) => {
    const all = pairsOfNames(raw);
    const pseudo = (name: string) => all.find((field) => field[0] === name)?.[1] ?? "";
    let body = "";
    const answer = script.answerTo(pseudo(":path"));
    const channel = { stream: stream as ServerHttp2Stream, wire, script };
    got.push(() => ({
      connection,
      method: pseudo(":method"),
      target: pseudo(":path"),
      host: pseudo(":authority"),
      fields: all.filter(([name]) => !name.startsWith(":")),
      body,
      isComplete: wire.endedStreams.has(stream.id ?? 0),
    }));
    stream.on("error", () => {});
    const begin = () => void answerH2(channel, answer).catch(() => {});
    if (answer.when === "head") begin();
    if (answer.when === "head" && answer.stops === true) return;
    stream.on("data", (chunk: Buffer) => (body += chunk.latin1Slice()));
    stream.on("end", () => {
      if (answer.when !== "head" && wire.endedStreams.has(stream.id ?? 0)) begin();
    });
  });
}

type Channel = {
  readonly stream: ServerHttp2Stream;
  readonly wire: Tampered;
  readonly script: Script;
};

async function answerH2({ stream, wire, script }: Channel, answer: Answer): Promise<void> {
  const { interims = [], status = 200, fields = [], body = HELLO, trailers = [], then } = answer;
  const id = stream.id ?? 0;
  for (const each of interims) {
    wire.say(id, [[":status", String(each.status)], ...(each.fields ?? [])]);
    stream.additionalHeaders({ ":status": 103 });
  }
  if (status !== null) {
    const head: Field[] = status === "" ? [] : [[":status", String(status)]];
    head.push(...fields);
    if (body?.as === "length") {
      head.push(["content-length", String(body.length ?? body.text.length)]);
    }
    wire.say(id, head);
    const isBodiless = body === null || (body.as === "length" && body.text === "");
    const endStream = isBodiless && then === undefined && trailers.length === 0;
    stream.respond({ ":status": 200 }, { endStream, waitForTrailers: trailers.length > 0 });
    stream.on("wantTrailers", () => {
      wire.say(id, trailers);
      stream.sendTrailers({ "x-placeholder": "1" });
    });
    if (body !== null && body.text !== "" && stream.writable) stream.write(body.text, "latin1");
  }
  if (then === undefined) {
    stream.end();
    return;
  }
  await script.untilSeen(seenOf(answer));
  if (then === "end") stream.end();
  // Not close(): that one ends the body first.
  else if (then === "reset") stream.destroy(new Error("reset"));
  else if (then === "gone") wire.socket.destroy();
}
