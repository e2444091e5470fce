// An HTTP/2 origin for tests: clear text with prior knowledge, each stream answered by a handler.

import http2 from "node:http2";
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

export type H2Origin = {
  readonly address: string;
  readonly sessions: ServerHttp2Session[];
  /** Headers of every stream, in the order they came. */
  readonly requests: IncomingHttpHeaders[];
};

export type H2Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** Starts an origin for one test. */
export async function h2Origin(
  t: TestContext,
  handle: H2Handler,
  settings: http2.Settings = {},
): Promise<H2Origin> {
  const sessions: ServerHttp2Session[] = [];
  const requests: IncomingHttpHeaders[] = [];
  const server = http2.createServer({ settings });
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream, headers) => {
    requests.push(headers);
    stream.on("error", () => {});
    handle(stream as ServerHttp2Stream, headers);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, sessions, requests };
}
