// Text straight to a socket's handle. A stream's write makes an object, a few closures and a turn of
// the tick queue for each call, which for a small response is a large part of what it costs (bench/load,
// "plain" and "https"). Only the case that matters is taken: the stream has nothing to write itself.
// Whatever is different is the stream's, as before; the handle keeps the order of both.

import type { Socket } from "node:net";
import { getSystemErrorName } from "node:util";

/** The native side of a stream, as node:net drives it. */
type StreamHandle = {
  /** 0, or libuv's error; what cannot be written at once is kept for `request`. */
  writeLatin1String(request: WriteRequest, text: string): number;
};

type WriteRequest = {
  oncomplete?: (status: number) => void;
};

type StreamBinding = {
  readonly WriteWrap: new () => WriteRequest;
  readonly streamBaseState: Int32Array;
  readonly kLastWriteWasAsync: number;
};

const binding = findBinding();

export class DirectWriter {
  readonly #socket: Socket;
  readonly #handle: StreamHandle;
  readonly #binding: StreamBinding;
  readonly #onDrain: () => void;
  // Used again as long as writes end at once: then nobody keeps it.
  #request: WriteRequest | null = null;
  #pending = 0;

  private constructor(
    socket: Socket,
    parts: { handle: StreamHandle; binding: StreamBinding },
    onDrain: () => void,
  ) {
    this.#socket = socket;
    this.#handle = parts.handle;
    this.#binding = parts.binding;
    this.#onDrain = onDrain;
  }

  /**
   * For a connected socket, of clear text or of TLS; null where there is no such handle. `onDrain`: what
   * was kept has left. Clear text mostly leaves at once, TLS never.
   */
  static of(socket: object, onDrain: () => void): DirectWriter | null {
    if (binding === null || !("_handle" in socket)) return null;
    const handle = socket._handle as Partial<StreamHandle> | null;
    if (typeof handle?.writeLatin1String !== "function") return null;
    return new DirectWriter(
      socket as unknown as Socket,
      { handle: handle as StreamHandle, binding },
      onDrain,
    );
  }

  /** True while something that was written here has not left. */
  get isPending(): boolean {
    return this.#pending > 0;
  }

  /** True when the stream has nothing of its own to write first. */
  get isReady(): boolean {
    return this.#socket.writableLength === 0 && this.#socket.writable;
  }

  /** Writes Latin-1 text, when ready. False: it is kept, and `onDrain` will be called. */
  write(text: string): boolean {
    const { streamBaseState, kLastWriteWasAsync, WriteWrap } = this.#binding;
    const request = (this.#request ??= new WriteWrap());
    const failure = this.#handle.writeLatin1String(request, text);
    if (failure !== 0) {
      this.#fail(failure);
      return true;
    }
    if (streamBaseState[kLastWriteWasAsync] === 0) return true;
    this.#request = null;
    this.#pending += 1;
    request.oncomplete = (status) => {
      this.#pending -= 1;
      if (status < 0) this.#fail(status);
      else if (this.#pending === 0) this.#onDrain();
    };
    return false;
  }

  #fail(status: number): void {
    if (this.#socket.destroyed) return;
    this.#socket.destroy(new Error(`the write failed: ${getSystemErrorName(status)}`));
  }
}

// Node keeps these classes to itself; without them, everything goes through the stream.
function findBinding(): StreamBinding | null {
  try {
    const { binding: find } = process as unknown as { binding(name: string): unknown };
    const found = find.call(process, "stream_wrap") as Partial<StreamBinding>;
    const isWhole =
      typeof found.WriteWrap === "function" &&
      found.streamBaseState instanceof Int32Array &&
      typeof found.kLastWriteWasAsync === "number";
    return isWhole ? (found as StreamBinding) : null;
  } catch {
    return null;
  }
}
