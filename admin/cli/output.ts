// How commands speak: results on standard output, everything else on standard error, colour on a
// terminal only, and errors that say what, why and how to mend.

import type { Fault } from "../../gateway/config/fault.ts";
import { formatFaults } from "../../gateway/config/fault-text.ts";
import { AdminError } from "../client.ts";

/** Exit codes of every command. */
export const EXIT = {
  ok: 0,
  /** It differs, it is invalid, it was refused. */
  no: 1,
  /** Wrong usage, or it could not be found out. */
  trouble: 2,
} as const;

/** An error whose message is all that a person needs. */
export class CliError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.trouble) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** To where a terminal's screen begins, and what is on it away. */
export const CLEAR = "\u001b[H\u001b[J";

export type Output = {
  readonly color: boolean;
  /** The result is to be one JSON document. */
  readonly isJson: boolean;
  /** A person looks: what is shown may be shown anew. */
  readonly isTerminal: boolean;
  print(text: string): void;
  note(text: string): void;
  /** JSON when it was asked for, the text otherwise. */
  result(value: unknown, text: () => string): void;
};

export function createOutput(options: { readonly json: boolean }): Output {
  const { stdout, stderr, env } = process;
  const color = stdout.isTTY && !options.json && (env["NO_COLOR"] ?? "") === "";
  const print = (text: string) => void stdout.write(text.endsWith("\n") ? text : `${text}\n`);
  return {
    color,
    isJson: options.json,
    isTerminal: stdout.isTTY && !options.json,
    print,
    note: (text) => void stderr.write(text.endsWith("\n") ? text : `${text}\n`),
    result: (value, text) => print(options.json ? JSON.stringify(value, null, 2) : text()),
  };
}

/** Shows what ended a command, and the exit code for it. */
export function reportError(
  error: unknown,
  output: Output,
  text?: { file: string; text: string },
): number {
  if (error instanceof AdminError) {
    const faults = error.problem["faults"];
    if (Array.isArray(faults)) {
      const where = { file: text?.file ?? "configuration", text: text?.text ?? "" };
      output.note(formatFaults(faults as Fault[], { ...where, color: output.color }));
    }
    output.note(`error: ${error.code}: ${error.message}`);
    if (error.status === 401 || error.code === "forbidden") {
      output.note("--key or SALLYPORT_KEY gives another key; sallyport whoami shows whose it is");
    }
    return error.status === 0 ? EXIT.trouble : EXIT.no;
  }
  if (error instanceof CliError) {
    output.note(`error: ${error.message}`);
    return error.exitCode;
  }
  output.note(`error: ${error instanceof Error ? error.message : String(error)}`);
  return EXIT.trouble;
}

/**
 * One line of what clients or plugins wrote: without control characters, which steer terminals, and without
 * what cannot be seen.
 */
export function plain(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}

/** A table of aligned columns; the first row is its head. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
