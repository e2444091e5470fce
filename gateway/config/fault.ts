// What is wrong with a configuration, and what differs between two: plain data that the checker makes
// and that the CLI and the admin API show in the same words.

/** One fault of a configuration: where, what was found, what is allowed. */
export type Fault = {
  /**
   * Stable code: syntax, too_large, unknown_key, missing_key, wrong_type, out_of_range, duplicate,
   * conflict, unknown_reference, secret_unreadable, file_unreadable, too_many.
   */
  readonly code: string;
  readonly message: string;
  /** JSON pointer of the value, e.g. /routes/0/match/hosts/1. */
  readonly path: string;
  /** 1-based position in the source text, when there is one. */
  readonly line?: number;
  readonly column?: number;
  readonly found?: string;
  readonly allowed?: string;
  /** Nearest known key, name or value. */
  readonly suggestion?: string;
};

/** One difference between two configurations. */
export type DiffLine = {
  readonly op: "add" | "remove" | "change";
  readonly path: string;
  readonly from?: unknown;
  readonly to?: unknown;
  /** The range of versions that is as it was, and came to another one. */
  readonly range?: string;
};
