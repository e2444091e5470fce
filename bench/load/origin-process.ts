// The origin as a process: one fixed answer for every request, whatever it asks for. A raw socket,
// because an HTTP library would cost several times the answer. Arguments: port, bytes of the answer.

import net from "node:net";

const EMPTY_LINE = Buffer.from("\r\n\r\n");
const SMALL_BYTES = 32_768;

function buildAnswer(bodyBytes: number): Buffer | string {
  const head = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${bodyBytes}\r\n\r\n`;
  const body = `{"data":"${"x".repeat(bodyBytes - 11)}"}`;
  // Node writes a short Latin-1 string for less than a Buffer, and a long Buffer without a copy.
  return bodyBytes <= SMALL_BYTES ? head + body : Buffer.from(head + body);
}

/** Reads requests off one socket; a body must say its length. */
class Requests {
  #rest: Buffer | null = null;
  #bodyBytes = 0;

  /** How many requests end within this chunk. */
  count(chunk: Buffer): number {
    let bytes = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = null;
    let ended = 0;
    while (bytes.length > 0) {
      if (this.#bodyBytes > 0) {
        const read = Math.min(this.#bodyBytes, bytes.length);
        this.#bodyBytes -= read;
        bytes = bytes.subarray(read);
      } else {
        const end = bytes.indexOf(EMPTY_LINE);
        if (end === -1) {
          this.#rest = bytes;
          break;
        }
        this.#bodyBytes = lengthIn(bytes, end);
        bytes = bytes.subarray(end + EMPTY_LINE.length);
      }
      if (this.#bodyBytes === 0) ended++;
    }
    return ended;
  }
}

// Most requests are a GET, which has no body here.
function lengthIn(bytes: Buffer, end: number): number {
  if (bytes[0] === 0x47) return 0;
  const head = bytes.latin1Slice(0, end);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length === undefined) throw new Error(`a request without a length: ${head}`);
  return Number(length);
}

const [port, bodyBytes] = process.argv.slice(2).map(Number);
const answer = buildAnswer(bodyBytes);
const server = net.createServer({ noDelay: true }, (socket) => {
  const requests = new Requests();
  socket.on("data", (chunk: Buffer) => {
    for (let left = requests.count(chunk); left > 0; left--) socket.write(answer, "latin1");
  });
  socket.on("error", () => {}); // A peer that stops resets its sockets.
});
server.listen(port, "127.0.0.1");
