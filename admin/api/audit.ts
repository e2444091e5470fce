// Who changed what, one JSON object a line, on disk before the change is acknowledged. Never secrets:
// what comes here was masked where it was made.

import { open, rename, stat } from "node:fs/promises";

const ROTATE_BYTES = 64 * 1024 * 1024;

export type AuditEntry = {
  /** The name of a key. */
  readonly actor: string;
  readonly role: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly [field: string]: unknown;
};

export class AuditLog {
  readonly #path: string;
  #turn: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** Resolves when the entry is on disk. */
  append(entry: AuditEntry): Promise<void> {
    const line = `${JSON.stringify({ time: new Date().toISOString(), ...entry })}\n`;
    const written = this.#turn.then(() => this.#write(line));
    this.#turn = written.catch(() => {});
    return written;
  }

  async #write(line: string): Promise<void> {
    const size = await stat(this.#path).then(
      (facts) => facts.size,
      () => 0,
    );
    if (size > ROTATE_BYTES) await rename(this.#path, `${this.#path}.1`);
    await using file = await open(this.#path, "a", 0o600);
    await file.appendFile(line);
    await file.sync();
  }
}
