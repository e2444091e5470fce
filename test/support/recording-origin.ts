// An origin that writes down every byte it gets, and that reads them with llhttp, strict: what the
// gateway forwarded is judged by its bytes and by a reader that shares no code with the gateway.

import http from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { TestContext } from "node:test";

/** The largest head, so that only syntax is judged. */
const HEAD_BYTES_MAX = 1 << 20;
/** Body of every answer. */
export const ORIGIN_BODY = "from the origin";

/** A request as llhttp read it. Texts are Latin-1. */
export type ReadRequest = {
  readonly method: string;
  readonly target: string;
  /** Names and values by turns, as they were sent. */
  readonly fields: readonly string[];
  readonly body: string;
};

/** What an origin got since it was last asked. */
export type Recording = {
  /** Every byte, per connection in the order of their first one; connections that were silent are left out. */
  readonly texts: readonly string[];
  readonly requests: readonly ReadRequest[];
  /** What llhttp refused. */
  readonly faults: readonly string[];
};

export type RecordingOrigin = {
  readonly address: string;
  /** Hands over the recording and begins a new one. */
  take(): Recording;
};

/** Starts an origin that answers every complete request with 200 and the same body. */
export async function recordingOrigin(t: TestContext): Promise<RecordingOrigin> {
  const sockets = new Set<Socket>();
  let texts = new Map<Socket, string>();
  let requests: ReadRequest[] = [];
  let faults: string[] = [];
  const server = http.createServer({ insecureHTTPParser: false, maxHeaderSize: HEAD_BYTES_MAX });
  server.maxHeadersCount = 0;
  const onRequest = (message: IncomingMessage, response: ServerResponse) => {
    let body = "";
    message.on("data", (chunk: Buffer) => (body += chunk.latin1Slice()));
    message.on("end", () => {
      const { method = "", url: target = "", rawHeaders: fields } = message;
      requests.push({ method, target, fields, body });
      response.end(ORIGIN_BODY);
    });
  };
  server.on("request", onRequest);
  // Expectations are not syntax: whatever is expected, the request is only read.
  server.on("checkContinue", onRequest);
  server.on("checkExpectation", onRequest);
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // The end of a connection within a request is the gateway's way to take it back.
    if (error.code !== "ECONNRESET" && error.code !== "HPE_INVALID_EOF_STATE") {
      faults.push(error.code ?? error.message);
    }
    socket.destroy();
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    // Before the parser's own listener, so that a request's bytes are written down when it is answered.
    socket.prependListener("data", (chunk: Buffer) => {
      texts.set(socket, (texts.get(socket) ?? "") + chunk.latin1Slice());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    take: () => {
      const recording = { texts: [...texts.values()], requests, faults };
      texts = new Map();
      requests = [];
      faults = [];
      return recording;
    },
  };
}

/** A request that the client meant, as far as it may reach an origin. */
export type Meant = {
  /** Method and target. */
  readonly line: string;
  readonly host?: string;
  /** The fields that are kept, as lines. */
  readonly fields?: string;
  /** A body of a declared length. */
  readonly body?: string;
  /** A body without one, by its chunks. */
  readonly chunks?: readonly string[];
};

/** Every byte that an origin may see of it, without the identifiers that are made for each request. */
export function forwardedText(meant: Meant): string {
  const { line, host = "a", fields = "", body, chunks } = meant;
  let text = `${line} HTTP/1.1\r\nhost: ${host}\r\n${fields}x-forwarded-for: 127.0.0.1\r\n`;
  text += `x-forwarded-proto: http\r\nx-forwarded-host: ${host}\r\n`;
  text += `forwarded: for=127.0.0.1;host="${host}";proto=http\r\n`;
  if (chunks !== undefined) {
    const sent = chunks.map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("");
    return `${text}transfer-encoding: chunked\r\n\r\n${sent}0\r\n\r\n`;
  }
  if (body !== undefined) return `${text}content-length: ${body.length}\r\n\r\n${body}`;
  return `${text}\r\n`;
}

/** Takes out the identifiers that are made for each request. */
export function withoutIds(text: string): string {
  return text.replaceAll(
    /x-request-id: [0-9a-f]{32}\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n/g,
    "",
  );
}
