// What a plugin decides about a request: an expected outcome, hence a value. The chain's parent
// branches on it; a plugin never writes to a socket.

/** A response made here instead of by the upstream. */
export type LocalResponse = {
  readonly status: number;
  /** Names and values already checked for CR, LF and NUL; framing names are refused by the writer. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Latin-1 or UTF-8 bytes; a string is sent as UTF-8. */
  readonly body: string | Uint8Array;
};

/**
 * `null` means continue with the next plugin: the common case costs one comparison.
 * A response ends the chain; `reason` is for the log and metrics, never sent.
 */
export type Verdict = null | {
  readonly kind: "respond";
  readonly response: LocalResponse;
  readonly reason: string;
};
