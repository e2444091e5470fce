// The buffers that sockets read into. Heads and small bodies are consumed within the read, so
// all sockets of a worker share one buffer for them; a large body is passed on without a copy and
// borrows a buffer of its own until its last byte has left.

const BUFFER_BYTES = 65_536;
const FREE_MAX = 64;

export class ReadBuffers {
  /** Valid only within one read. */
  readonly shared: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  readonly #free: Buffer[] = [];

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(BUFFER_BYTES);
  }

  /** Only for a buffer that nothing refers to any more. */
  give(buffer: Buffer): void {
    if (this.#free.length < FREE_MAX) this.#free.push(buffer);
  }
}
