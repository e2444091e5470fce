// Raw sockets for tests that must say exactly what is sent and see exactly what comes: a client, and
// an origin that records every byte and answers by script.

import net from "node:net";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";

const DEADLINE_MS = 5_000;

/** Everything a server sends on one connection, until it closes. */
export type RawAnswer = { readonly text: string; readonly ended: boolean; readonly reset: boolean };

export type RawClient = {
  readonly socket: Socket;
  send(bytes: string | Uint8Array): void;
  /** Resolves once the received text fits; rejects when the connection ends before. */
  until(fits: (text: string) => boolean): Promise<string>;
  /** Resolves when the server has closed. */
  closed(): Promise<RawAnswer>;
};

/** Connects; what is not read in time fails the test instead of hanging it. */
export async function connectRaw(t: TestContext, port: number): Promise<RawClient> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  t.after(() => socket.destroy());
  let text = "";
  let ended = false;
  let reset = false;
  let isClosed = false;
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of [...waiting]) check();
  };
  socket.on("data", (chunk: Buffer) => {
    text += chunk.latin1Slice();
    wake();
  });
  socket.on("end", () => {
    ended = true;
    wake();
  });
  socket.on("error", () => (reset = true));
  socket.on("close", () => {
    isClosed = true;
    wake();
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  const wait = <T>(ready: () => T | null, what: string): Promise<T> =>
    new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        waiting.delete(check);
        act();
      };
      const check = () => {
        try {
          const value = ready();
          if (value !== null) settle(() => resolve(value));
        } catch (error) {
          settle(() => reject(error as Error));
        }
      };
      const timer = setTimeout(
        () => settle(() => reject(new Error(`${what} did not come; got ${JSON.stringify(text)}`))),
        DEADLINE_MS,
      );
      waiting.add(check);
      check();
    });
  return {
    socket,
    send: (bytes) => void socket.write(bytes, "latin1"),
    until: (fits) =>
      wait(() => {
        if (fits(text)) return text;
        if (ended || isClosed) throw new Error(`closed early with ${JSON.stringify(text)}`);
        return null;
      }, "the text"),
    closed: () => wait(() => (ended || isClosed ? { text, ended, reset } : null), "the end"),
  };
}

/** Sends bytes on a new connection and collects all until the server closes. */
export async function exchangeRaw(
  t: TestContext,
  port: number,
  bytes: string | Uint8Array,
): Promise<RawAnswer> {
  const client = await connectRaw(t, port);
  client.send(bytes);
  return await client.closed();
}

/** Status code of the first response in a text; 0 when there is none. */
export function statusOf(text: string): number {
  const match = /^HTTP\/1\.1 (\d{3})/.exec(text);
  return match === null ? 0 : Number(match[1]);
}

export type RawOrigin = {
  readonly port: number;
  readonly address: string;
  /** Everything received, per connection in the order they came. */
  readonly received: string[];
  readonly sockets: Socket[];
};

/** What an origin does with a connection: called on each chunk with all that came so far. */
export type OriginScript = (socket: Socket, received: string, connection: number) => void;

/** An origin that records bytes and answers by script. */
export async function rawOrigin(t: TestContext, script: OriginScript): Promise<RawOrigin> {
  const received: string[] = [];
  const sockets: Socket[] = [];
  const server = net.createServer((socket) => {
    const index = received.push("") - 1;
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      received[index] += chunk.latin1Slice();
      script(socket, received[index], index);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, address: `127.0.0.1:${port}`, received, sockets };
}

/** A script that answers every complete head without a body with the same text. */
export function answerWith(response: string): OriginScript {
  const answered = new WeakMap<Socket, number>();
  return (socket, received) => {
    const heads = received.split("\r\n\r\n").length - 1;
    for (let i = answered.get(socket) ?? 0; i < heads; i++) socket.write(response, "latin1");
    answered.set(socket, heads);
  };
}

/** A response of 200 with a body of known length. */
export function ok(body: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}
