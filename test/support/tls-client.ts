// TLS connections of a client: one that asks once, and tells what it was shown, what it was answered and
// how it ended, and one that stays open. Whatever happens is a result; only silence fails the test.

import { once } from "node:events";
import type { TestContext } from "node:test";
import tls from "node:tls";
import { statusOf } from "./raw.ts";

const WAIT_MS = 5_000;

export type Visit = {
  /** Of the response; 0: there was none. */
  readonly status: number;
  readonly text: string;
  /** Common name of the certificate that the server showed; empty: the handshake did not get there. */
  readonly shown: string;
  readonly protocol: string;
  readonly reused: boolean;
  /** For a later connection to resume; undefined: none was given. */
  readonly session: Buffer | undefined;
  /** Code of the error that ended it; empty: it ended well. */
  readonly error: string;
};

export type VisitOptions = tls.ConnectionOptions & {
  /** Fields beside Host, as lines. */
  readonly fields?: string;
};

/** Connects, sends one request, and reads until the server closes. */
export async function visit(
  t: TestContext,
  port: number,
  { fields = "", ...options }: VisitOptions = {},
): Promise<Visit> {
  const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
  t.after(() => socket.destroy());
  let text = "";
  let error = "";
  let session: Buffer | undefined;
  let seen = { shown: "", protocol: "", reused: false };
  socket.on("session", (made: Buffer) => (session = made));
  socket.on("data", (chunk: Buffer) => (text += chunk.latin1Slice()));
  socket.on("error", (met: NodeJS.ErrnoException) => (error ||= met.code ?? met.message));
  socket.on("secureConnect", () => {
    seen = {
      shown: String(socket.getPeerCertificate().subject?.CN ?? ""),
      protocol: socket.getProtocol() ?? "",
      reused: socket.isSessionReused(),
    };
    socket.write(`GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n${fields}\r\n`, "latin1");
  });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`the server did not close; got ${JSON.stringify(text)}`)),
      WAIT_MS,
    );
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
  return { ...seen, status: statusOf(text), text, session, error };
}

/** Connects for several requests; the function that it returns asks once, and resolves to the status. */
export function stayOpen(t: TestContext, port: number): () => Promise<number> {
  const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
  t.after(() => socket.destroy());
  return async () => {
    const answered = once(socket, "data", { signal: AbortSignal.timeout(WAIT_MS) });
    socket.write("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    const [chunk] = (await answered) as [Buffer];
    return statusOf(chunk.latin1Slice());
  };
}
