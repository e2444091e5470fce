// Faults for people: place, what is wrong, the line itself with a mark, what was found and what is
// allowed. The same words on the terminal and in the log. Shows no secret and sends a terminal
// nothing but text, whatever the file holds.

import { styleText } from "node:util";
import type { Fault } from "./fault.ts";
import { HIDDEN } from "./fault-list.ts";

const LINE_CHARS_MAX = 120;
const ALLOWED_CHARS_MAX = 300;
// Where a line may hold a secret: one that is given as such, a private key that was pasted where a
// public one belongs or its parts (RFC 7518, 6), a plain key in the place of its hash.
const SECRETS = [
  /(?:secret|public_key|jwk)["']?\s*:/,
  /(?<![\w.-])(?:k|d|p|q|dp|dq|qi)["']?\s*:/,
  /hash["']?\s*:\s*(?!["']?(?:sha256|\$env|\$file):)[^\s{]/,
];

/** Where the faults are: the file's name as the user gave it, and the text that was checked. */
export type FaultTextOptions = {
  readonly file: string;
  readonly text: string;
  readonly color: boolean;
};

type Paint = (style: "bold" | "red" | "cyan" | "dim", text: string) => string;

/** All faults as text, ending with their count. */
export function formatFaults(faults: readonly Fault[], options: FaultTextOptions): string {
  const lines = options.text.split("\n");
  const hidden = secretLines(faults, lines);
  const paint: Paint = (style, text) =>
    options.color ? styleText(style, text, { validateStream: false }) : text;
  const blocks = faults.map((fault) => {
    const { line: number = 0 } = fault;
    const line = hidden.has(number) ? null : (lines[number - 1] ?? "");
    return formatFault(fault, { file: options.file, line, paint });
  });
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  return `${[...blocks, count].join("\n")}\n`;
}

function secretLines(faults: readonly Fault[], lines: readonly string[]): Set<number> {
  const secret = new Set<number>();
  for (const number of new Set(faults.map(({ line }) => line ?? 0))) {
    if (isSecret(lines[number - 1] ?? "")) secret.add(number);
  }
  for (const { line: number = 0, column = 1, found = "", suggestion } of faults) {
    // Also when the secret's key is misspelt: then it is read as it was meant.
    const from = (lines[number - 1] ?? "").slice(column - 1, column - 1 + LINE_CHARS_MAX);
    const isMeant = suggestion !== undefined && isSecret(from.replace(found, () => suggestion));
    if (found === HIDDEN || isMeant) secret.add(number);
  }
  return secret;
}

function isSecret(text: string): boolean {
  return SECRETS.some((pattern) => pattern.test(text));
}

function formatFault(
  fault: Fault,
  { file, line, paint }: { file: string; line: string | null; paint: Paint },
): string {
  const name = plain(file);
  const place = fault.line === undefined ? name : `${name}:${fault.line}:${fault.column}`;
  const kind = paint("red", `error[${fault.code}]`);
  const parts = [`${paint("bold", place)}: ${kind}: ${plain(fault.message)}`];
  if (line !== null && fault.line !== undefined) {
    parts.push(...frame(line, { number: fault.line, column: fault.column ?? 1, paint }));
  }
  if (fault.path !== "") parts.push(`  at ${paint("dim", plain(fault.path))}`);
  if (fault.allowed !== undefined && !fault.message.includes(fault.allowed)) {
    parts.push(`  allowed: ${cut(plain(fault.allowed), ALLOWED_CHARS_MAX)}`);
  }
  if (fault.suggestion !== undefined) {
    parts.push(`  did you mean ${paint("cyan", plain(fault.suggestion))}?`);
  }
  return `${parts.join("\n")}\n`;
}

function frame(
  line: string,
  { number, column, paint }: { number: number; column: number; paint: Paint },
): string[] {
  // Of a long line, the part around the place.
  const from = Math.max(0, Math.min(column - LINE_CHARS_MAX / 2, line.length - LINE_CHARS_MAX));
  const shown = plain(line.slice(from, from + LINE_CHARS_MAX).replace(/\r$/, ""));
  const gutter = `  ${number} | `;
  const indent = " ".repeat(gutter.length + column - 1 - from);
  return [`${paint("dim", gutter)}${shown}`, `${indent}${paint("red", "^")}`];
}

// One character for one, so that the mark stays where it belongs. Also hides what makes a terminal
// write from right to left.
function plain(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(
    /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    " ",
  );
}

function cut(text: string, charsMax: number): string {
  return text.length <= charsMax ? text : `${text.slice(0, charsMax)}...`;
}
