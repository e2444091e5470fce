// A steady stream of requests beside a test: raw keep-alive connections at a fixed rate, every answer
// read to its end. What is not a whole response with the expected status is a failure, and kept.

import net from "node:net";
import type { TestContext } from "node:test";

export type LoadOptions = {
  readonly port: number;
  /** Requests a second over all connections. */
  readonly rate: number;
  readonly connections?: number;
  readonly path?: string;
  readonly headers?: string;
  /** Called when a request is sent; what it returns goes with the answer. */
  mark?(): string;
  /** Looks at a whole response; a text says what is wrong with it. */
  check?(answer: LoadAnswer): string | null;
};

export type LoadAnswer = {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  /** What `mark` said when the request was sent. */
  readonly mark: string;
};

export type Load = {
  /** Stops and resolves when every answer has come. */
  stop(): Promise<LoadResult>;
  /** Resolves when so many more requests were answered. */
  answered(count: number): Promise<void>;
};

export type LoadResult = {
  readonly sent: number;
  readonly answered: number;
  readonly failures: string[];
};

const ANSWER_MS = 10_000;
const TICK_MS = 5;

/** Starts sending, until the test ends at the latest. A connection that the server closes between two requests is made anew. */
export function startLoad(t: TestContext, options: LoadOptions): Load {
  const { rate, connections = 16 } = options;
  const failures: string[] = [];
  const watchers = new Set<() => void>();
  let sent = 0;
  let answered = 0;
  const clients = Array.from({ length: connections }, () => new Client(options));
  const startedMs = performance.now();
  let isStopped = false;
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedMs) / 1000) * rate);
    for (const client of clients) {
      if (sent >= due || isStopped) break;
      if (client.isBusy) continue;
      sent++;
      void client.request().then((failure) => {
        answered++;
        if (failure !== null) failures.push(failure);
        for (const look of watchers) look();
      });
    }
  }, TICK_MS);
  t.after(() => {
    clearInterval(timer);
    for (const client of clients) client.close();
  });
  const until = (ready: () => boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (!ready()) return;
        watchers.delete(look);
        resolve();
      };
      watchers.add(look);
      look();
    });
  return {
    answered: (count) => {
      const goal = answered + count;
      return until(() => answered >= goal);
    },
    stop: async () => {
      isStopped = true;
      clearInterval(timer);
      await until(() => answered === sent);
      for (const client of clients) client.close();
      return { sent, answered, failures };
    },
  };
}

function isOk({ status }: LoadAnswer): string | null {
  return status === 200 ? null : `status ${status}`;
}

class Client {
  readonly #options: LoadOptions;
  readonly #text: string;
  #socket: net.Socket | null = null;
  #received = "";
  #mark = "";
  #settle: ((failure: string | null) => void) | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: LoadOptions) {
    this.#options = options;
    const { path = "/", headers = "" } = options;
    this.#text = `GET ${path} HTTP/1.1\r\nhost: load.test\r\n${headers}\r\n`;
  }

  get isBusy(): boolean {
    return this.#settle !== null;
  }

  /** Resolves to what went wrong, or null. */
  request(): Promise<string | null> {
    return new Promise((settle) => {
      this.#settle = settle;
      this.#received = "";
      this.#mark = this.#options.mark?.() ?? "";
      this.#timer = setTimeout(() => this.#end("no answer in time"), ANSWER_MS);
      (this.#socket ??= this.#connect()).write(this.#text, "latin1");
    });
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#socket?.destroy();
    this.#socket = null;
  }

  #connect(): net.Socket {
    const socket = net.connect({ port: this.#options.port, host: "127.0.0.1", noDelay: true });
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => this.#onText(text));
    socket.on("error", (error) => this.#end(error.message));
    socket.on("close", () => {
      this.#socket = null;
      this.#end(`closed with ${JSON.stringify(this.#received.slice(0, 200))}`);
    });
    return socket;
  }

  #onText(text: string): void {
    this.#received += text;
    const end = this.#received.indexOf("\r\n\r\n");
    if (end === -1) return;
    const head = this.#received.slice(0, end);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0);
    const body = this.#received.slice(end + 4);
    if (body.length < length) return;
    const status = Number(head.slice(9, 12));
    const { check = isOk } = this.#options;
    const wrong = check({ status, head, body, mark: this.#mark });
    if (/\r\nconnection: close/i.test(head)) {
      this.#socket?.removeAllListeners("close");
      this.#socket?.destroy();
      this.#socket = null;
    }
    this.#end(wrong);
  }

  #end(failure: string | null): void {
    const settle = this.#settle;
    if (settle === null) return;
    this.#settle = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    settle(failure);
  }
}
