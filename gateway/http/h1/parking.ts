// Bytes of a client that came before anybody wanted them: the beginning of a head, what follows a
// request that is under way, a body that nobody has asked for yet. Bounded by who pauses the socket
// when it is full.

import { LIMITS } from "../../base/limits.ts";
import type { Intake } from "../../base/read-buffers.ts";

export class Parking {
  /** What is parked; null: nothing. */
  bytes: Buffer | null = null;
  /** The bytes being looked at are in a buffer that the next read writes over. */
  isLent = false;
  readonly #intake: Intake;

  constructor(intake: Intake) {
    this.#intake = intake;
  }

  get isFull(): boolean {
    return this.bytes !== null && this.bytes.length >= LIMITS.pipelinedBytesMax;
  }

  /** Parks these, in place of what was. */
  set(bytes: Buffer): void {
    this.bytes = this.isLent ? Buffer.from(bytes) : bytes;
  }

  /** Parks the beginning of a body. */
  setBody(bytes: Buffer): void {
    this.bytes = this.isLent ? this.#intake.park(bytes) : bytes;
  }

  /** Parks more behind what is there. */
  add(bytes: Buffer): void {
    if (this.bytes === null) this.set(bytes);
    else this.bytes = Buffer.concat([this.bytes, bytes]);
  }

  take(): Buffer | null {
    const { bytes } = this;
    this.bytes = null;
    return bytes;
  }
}
