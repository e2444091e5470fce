// The gateway's own log: one JSON object a line on standard error, so that journald and every
// collector read it as it is. Not the access log, and never on the path of a request that succeeds.

import { jsonText } from "./json-text.ts";

export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** The same log with fields added to each line. */
  with(fields: LogFields): Log;
}

/** A log that writes lines to `write`; each line ends with a newline. */
export function createLog(write: (line: string) => void, base: LogFields = {}): Log {
  const emit = (level: string, message: string, fields: LogFields = {}) => {
    const line = { time: new Date().toISOString(), level, message, ...base, ...plain(fields) };
    write(`${jsonText(line)}\n`);
  };
  return {
    info: (message, fields) => emit("info", message, fields),
    warn: (message, fields) => emit("warn", message, fields),
    error: (message, fields) => emit("error", message, fields),
    with: (fields) => createLog(write, { ...base, ...fields }),
  };
}

// Errors have no enumerable fields of their own: without this they would be logged as {}.
function plain(fields: LogFields): LogFields {
  const shown: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    shown[name] = value instanceof Error ? describe(value) : value;
  }
  return shown;
}

function describe(error: Error): string {
  const cause = error.cause instanceof Error ? `: ${describe(error.cause)}` : "";
  return `${error.message}${cause}`;
}
