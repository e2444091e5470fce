// What a compiler found wrong, in one form for both languages: a place, a sentence, the line itself.

/** One error of a compiler. Line and column count from 1; 0 when it has no place. */
export type CompileFault = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** The compiler's own code, such as `TS2322` or `E0308`; empty when it gave none. */
  readonly code: string;
  readonly message: string;
  /** Text of the line; empty when there is none. */
  readonly source: string;
};

/** The sources do not compile. The message holds every fault with its place and source frame. */
export class CompileError extends Error {
  readonly faults: readonly CompileFault[];

  constructor(faults: readonly CompileFault[]) {
    super(faults.map(faultText).join("\n"));
    this.faults = faults;
  }
}

/** `file:line:col: error[CODE]: what`, and below it the line with a mark. */
export function faultText(fault: CompileFault): string {
  const { file, line, column, code, message } = fault;
  const place = line === 0 ? file : `${file}:${line}:${column}`;
  const kind = code === "" ? "error" : `error[${code}]`;
  return [`${place}: ${kind}: ${message}`, ...sourceFrame(fault)].join("\n");
}

/** The source line with its number, and a mark under the column; nothing without a line. */
export function sourceFrame(at: {
  readonly line: number;
  readonly column: number;
  readonly source: string;
}): string[] {
  if (at.line === 0 || at.source === "") return [];
  const gutter = `  ${at.line} | `;
  // Tabs stay tabs, so that the mark stands under its column in every terminal.
  const indent = at.source.slice(0, at.column - 1).replaceAll(/[^\t]/g, " ");
  return [gutter + at.source, " ".repeat(gutter.length) + indent + "^"];
}
