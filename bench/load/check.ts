// Before anything is measured: a contender answers what it should and refuses what it should. A peer
// that skips half of the work would win.

import http from "node:http";
import https from "node:https";
import { setTimeout as pause } from "node:timers/promises";
import { HOST, PREFIX } from "../peers/peer.ts";
import type { WasmSettings } from "../peers/peer.ts";
import type { Child } from "./children.ts";
import type { Traffic } from "./scenario.ts";

const READY_MS = 30_000;
const ASK_MS = 5_000;
const POLL_MS = 50;

export const PATH = `${PREFIX}orders/12345`;

export type Question = {
  readonly url: string;
  readonly method: "GET" | "POST";
  readonly bodyBytes: number;
  readonly host: string;
  readonly token: string | null;
};
export type Answer = {
  readonly status: number;
  readonly bytes: number;
  readonly headers: http.IncomingHttpHeaders;
};

/** One request on a connection of its own; rejects when there is no complete answer in 5 s. */
export function ask({ url, method, bodyBytes, host, token }: Question): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers: Record<string, string> = { host };
  if (token !== null) headers["authorization"] = `Bearer ${token}`;
  const options = { method, headers, agent: false, signal: AbortSignal.timeout(ASK_MS) };
  const onResponse = (response: http.IncomingMessage) => {
    const { statusCode: status = 0, headers: answered } = response;
    let bytes = 0;
    response.on("data", (chunk: Buffer) => (bytes += chunk.length));
    response.on("end", () => resolve({ status, bytes, headers: answered }));
    response.on("error", reject);
  };
  const request = url.startsWith("https:")
    ? https.request(url, { ...options, servername: HOST, rejectUnauthorized: false }, onResponse)
    : http.request(url, options, onResponse);
  request.on("error", reject);
  request.end(bodyBytes > 0 ? Buffer.alloc(bodyBytes, "x") : undefined);
  return promise;
}

/** Waits until a URL answers 200; rejects when the process ends first, or after 30 s. */
export async function waitUntilReady(question: Question, child: Child): Promise<void> {
  let ended = false;
  void child.exited.then(() => (ended = true));
  const deadlineMs = performance.now() + READY_MS;
  let last = "no answer";
  while (performance.now() < deadlineMs) {
    if (ended) throw new Error(`it ended: ${(child.output.err || child.output.out).trim()}`);
    try {
      const { status } = await ask(question);
      if (status === 200) return;
      last = `status ${status}`;
    } catch (error) {
      last = String(error);
    }
    await pause(POLL_MS);
  }
  throw new Error(`not ready after ${READY_MS} ms: ${last}; ${child.output.err.trim()}`);
}

/** Throws unless the work is done, all of it: routing by host and path, and the check of tokens. */
export async function checkWork(
  base: string,
  traffic: Traffic,
  token: string | null,
): Promise<void> {
  const right = { ...traffic, url: base + PATH, host: HOST, token };
  const { status, bytes } = await ask(right);
  if (status !== 200 || bytes !== traffic.replyBytes) {
    throw new Error(`answers ${status} with ${bytes} bytes, not 200 with ${traffic.replyBytes}`);
  }
  const wrong: [string, Question][] = [
    ["another host", { ...right, host: "other.example.com" }],
    ["another path", { ...right, url: `${base}/other` }],
  ];
  if (token !== null) {
    wrong.push(["no token", { ...right, token: null }]);
    wrong.push(["a forged token", { ...right, token: forge(token) }]);
  }
  for (const [what, question] of wrong) {
    const answer = await ask({ ...question, method: "GET", bodyBytes: 0 });
    if (answer.status < 400) throw new Error(`${what} is answered with ${answer.status}`);
  }
}

/** Throws unless the plugin shows in an answer. */
export async function checkPlugin(base: string, { proof }: WasmSettings): Promise<void> {
  const url = base + PREFIX + proof.path;
  const answer = await ask({ url, method: "GET", bodyBytes: 0, host: HOST, token: null });
  const hasHeader = proof.header === undefined || proof.header in answer.headers;
  if (answer.status !== proof.status || !hasHeader) {
    throw new Error(`the plugin does not show: ${url} is answered with ${answer.status}`);
  }
}

/** A token with another signature. */
function forge(token: string): string {
  const at = token.lastIndexOf(".") + 10;
  return token.slice(0, at) + (token[at] === "A" ? "B" : "A") + token.slice(at + 1);
}
