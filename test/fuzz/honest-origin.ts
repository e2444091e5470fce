// An origin that answers every whole request well, in every form there is: by length, in chunks, by
// closing, early, late, in pieces, with interim responses before, or by going over to WebSocket.
// llhttp reads what reaches it, and what llhttp refuses is a fault of the gateway.

import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import type { TestContext } from "node:test";
import type { Chance } from "../support/chance.ts";
import { LlhttpReader } from "../support/llhttp-reader.ts";
import type { ReadMessage } from "../support/llhttp-reader.ts";
import { listen, writeInPieces } from "./live.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BIG = "z".repeat(150_000);
/** Answered in the plainest way: with what was sent, or "probe". */
export const PROBE_PATH = "/probe";

/** The field that numbers an origin's answers. */
export const NUMBER_FIELD = "x-number";

export class HonestOrigin {
  port = 0;
  /** Whole requests since the last look. */
  requests: ReadMessage[] = [];
  /** What must not reach an origin. */
  readonly faults: string[] = [];
  tunnels = 0;
  /** Answers so far. */
  #answers = 0;
  readonly #chance: Chance;

  private constructor(chance: Chance) {
    this.#chance = chance;
  }

  static async open(t: TestContext, chance: Chance): Promise<HonestOrigin> {
    const origin = new HonestOrigin(chance);
    origin.port = await listen(t, (socket) => origin.#serve(socket));
    return origin;
  }

  #serve(socket: Socket): void {
    let received = "";
    let isTunnel = false;
    /** Of the request that is coming: it was answered before its end. */
    let isEarly = false;
    let isAnswering = false;
    const answer = async (request: ReadMessage) => {
      if (isAnswering) this.faults.push(`a request before the last one's answer: ${received}`);
      isAnswering = true;
      isTunnel = await this.#answer(socket, request);
      isAnswering = false;
    };
    const reader = new LlhttpReader({
      kind: "request",
      onHead: (request) => {
        const hasBody =
          request.get("content-length") !== null || request.get("transfer-encoding") !== null;
        const isProbe = request.target.startsWith(PROBE_PATH);
        isEarly = hasBody && !isProbe && this.#chance.oneIn(8);
        if (isEarly) void answer(request);
      },
      onComplete: (request) => {
        this.requests.push(request);
        if (!isEarly) void answer(request);
      },
    });
    socket.on("close", () => reader[Symbol.dispose]());
    socket.on("data", (bytes: Buffer) => {
      if (isTunnel) {
        socket.write(bytes);
        return;
      }
      received += bytes.latin1Slice();
      reader.push(bytes);
      if (reader.fault !== "") this.faults.push(`${reader.fault}: ${received}`);
    });
  }

  /** True when the connection is a tunnel from here on. */
  async #answer(socket: Socket, request: ReadMessage): Promise<boolean> {
    const chance = this.#chance;
    const number = `${NUMBER_FIELD}: ${++this.#answers}\r\n`;
    if (request.target.startsWith(PROBE_PATH)) {
      const body = request.body === "" ? "probe" : request.body;
      const head = `HTTP/1.1 200 OK\r\n${number}content-length: ${body.length}\r\n\r\n`;
      socket.write(head + body, "latin1");
      return false;
    }
    if (request.upgrade && request.get("upgrade") === "websocket" && !chance.oneIn(3)) {
      this.tunnels++;
      socket.write(handshake(request.get("sec-websocket-key") ?? "", number));
      return true;
    }
    const { text, closes } = makeAnswer(chance, { number, isHead: request.method === "HEAD" });
    await writeInPieces(socket, text, chance);
    if (closes) socket.end();
    return false;
  }
}

function makeAnswer(chance: Chance, { number, isHead }: { number: string; isHead: boolean }) {
  const data = chance.pick(["", "ok", "a\r\n\r\nb", chance.oneIn(8) ? BIG : "c"]);
  let head = chance.oneIn(10) ? "HTTP/1.1 100 Continue\r\n\r\n" : "";
  if (chance.oneIn(10)) head += "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
  const status = chance.pick(["200 OK", "201 Created", "404 Not Found", "503 Busy", "599 \xfc"]);
  head += `HTTP/1.1 ${status}\r\n${number}`;
  if (chance.oneIn(4)) head += "set-cookie: a=b\r\nset-cookie: c=d\r\n";
  let closes = chance.oneIn(10);
  if (closes && chance.oneIn(2)) head += "connection: close\r\n";
  let body = data;
  switch (chance.below(4)) {
    case 0: {
      const size = data.length.toString(16);
      head += "transfer-encoding: chunked\r\ntrailer: x-t\r\n";
      body = `${data === "" ? "" : `${size};e=f\r\n${data}\r\n`}0\r\nx-t: g\r\n\r\n`;
      break;
    }
    case 1:
      if (!chance.oneIn(3)) {
        head = head.replace(/HTTP\/1.1 [2345]\d\d [^\r]*/, `HTTP/1.1 ${chance.pick([204, 304])}`);
        body = "";
        break;
      }
      closes = true;
      break;
    default:
      head += `content-length: ${data.length}\r\n`;
  }
  return { text: `${head}\r\n${isHead ? "" : body}`, closes };
}

function handshake(key: string, number: string): string {
  const accept = createHash("sha1").update(`${key}${GUID}`).digest("base64");
  return (
    `HTTP/1.1 101 Switching Protocols\r\n${number}connection: Upgrade\r\nupgrade: websocket\r\n` +
    `sec-websocket-accept: ${accept}\r\n\r\n`
  );
}
