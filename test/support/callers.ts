// Many callers beside a test, each request with headers of its own: over kept connections, several on
// their way at once in each, as fast as they are answered or at a rate. Every answer is read and shown.

import net from "node:net";
import type { TestContext } from "node:test";

export type Answer = {
  /** Which of the requests. */
  readonly index: number;
  readonly status: number;
  /** Status line and headers. */
  readonly head: string;
};

export type CallersOptions = {
  readonly port: number;
  /** Header lines of a request, each with its line end, and its path. */
  request(index: number): { readonly headers: string; readonly path?: string };
  onAnswer(answer: Answer): void;
  readonly connections?: number;
  /** Requests on their way in one connection. */
  readonly depth?: number;
};

const STALLED_MS = 20_000;
const TICK_MS = 5;

/** A header of an answer, or null. */
export function headerOf({ head }: Answer, name: string): string | null {
  const at = head.indexOf(`\r\n${name}: `);
  if (at === -1) return null;
  const begin = at + name.length + 4;
  return head.slice(begin, head.indexOf("\r\n", begin));
}

/** Sends so many requests as fast as they are answered; rejects when a connection is lost. */
export async function callAll(options: CallersOptions, count: number): Promise<void> {
  const { connections = 16, depth = 16 } = options;
  let next = 0;
  const lines = Array.from({ length: connections }, () => new Line(options));
  const fill = (line: Line) => {
    const from = next;
    next = Math.min(count, next + depth - line.pending);
    line.send(from, next);
  };
  try {
    await Promise.all(
      lines.map((line) =>
        line.run(
          () => fill(line),
          () => next >= count,
        ),
      ),
    );
  } finally {
    for (const line of lines) line.close();
  }
}

export type Callers = {
  /** Stops and resolves to how many were answered; rejects when an answer was lost. */
  stop(): Promise<number>;
};

/** Sends so many requests a second until it is stopped, at the latest when the test ends. */
export function startCallers(t: TestContext, options: CallersOptions, rate: number): Callers {
  const { connections = 16, depth = 4 } = options;
  const lines = Array.from({ length: connections }, () => new Line(options));
  const beganMs = performance.now();
  let sent = 0;
  let isStopped = false;
  const runs = lines.map((line) =>
    line.run(
      () => {},
      () => isStopped,
    ),
  );
  const all = Promise.all(runs);
  all.catch(() => {});
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - beganMs) / 1000) * rate);
    // In turn, so that all connections, and with them all workers, have their part.
    for (let tries = 0; sent < due && tries < connections * depth; tries++) {
      const line = lines[tries % connections];
      if (line.pending < depth) line.send(sent, ++sent);
    }
  }, TICK_MS);
  const end = () => {
    clearInterval(timer);
    isStopped = true;
    for (const line of lines) line.look();
  };
  t.after(() => {
    end();
    for (const line of lines) line.close();
  });
  return {
    stop: async () => {
      end();
      await all;
      for (const line of lines) line.close();
      return sent;
    },
  };
}

/** One connection; answers come in the order of the requests. */
class Line {
  readonly #options: CallersOptions;
  readonly #socket: net.Socket;
  readonly #waiting: number[] = [];
  #received = "";
  #onChange: () => void = () => {};
  #fail: (error: Error) => void = () => {};

  constructor(options: CallersOptions) {
    this.#options = options;
    this.#socket = net.connect({ port: options.port, host: "127.0.0.1", noDelay: true });
    this.#socket.setEncoding("latin1");
    this.#socket.setTimeout(STALLED_MS, () => {
      if (this.pending > 0) this.#fail(new Error("an answer did not come in time"));
    });
    this.#socket.on("data", (text: string) => this.#take(text));
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () => {
      const what = `closed with ${this.pending} on their way: ${this.#received.slice(0, 200)}`;
      if (this.pending > 0) this.#fail(new Error(what));
    });
  }

  get pending(): number {
    return this.#waiting.length;
  }

  /** Resolves when all is answered and nothing more is to come. */
  run(fill: () => void, isOver: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      this.#onChange = () => {
        fill();
        if (this.pending === 0 && isOver()) resolve();
      };
      this.#onChange();
    });
  }

  look(): void {
    this.#onChange();
  }

  send(from: number, to: number): void {
    let text = "";
    for (let index = from; index < to; index++) {
      const { headers, path = "/" } = this.#options.request(index);
      text += `GET ${path} HTTP/1.1\r\nhost: load.test\r\n${headers}\r\n`;
      this.#waiting.push(index);
    }
    if (text !== "") this.#socket.write(text, "latin1");
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(text: string): void {
    this.#received += text;
    let at = 0;
    for (;;) {
      const end = this.#received.indexOf("\r\n\r\n", at);
      if (end === -1) break;
      const head = this.#received.slice(at, end + 2);
      const length = Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? 0);
      if (this.#received.length < end + 4 + length) break;
      at = end + 4 + length;
      const index = this.#waiting.shift() ?? -1;
      this.#options.onAnswer({ index, status: Number(head.slice(9, 12)), head });
    }
    this.#received = this.#received.slice(at);
    this.#onChange();
  }
}
