// Faults for people: place, what is wrong, the line itself with a mark, what was found and what is
// allowed. The same words on the terminal and in the log.

import { styleText } from "node:util";
import type { Fault } from "./fault.ts";

const LINE_CHARS_MAX = 160;

/** All faults as text, ending with their count. */
export function formatFaults(
  faults: readonly Fault[],
  options: { readonly file: string; readonly text: string; readonly color: boolean },
): string {
  const lines = options.text.split(/\r?\n/);
  const blocks = faults.map((fault) => formatFault(fault, lines, options));
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  return `${blocks.join("\n")}\n${count}\n`;
}

function formatFault(
  fault: Fault,
  lines: readonly string[],
  { file, color }: { readonly file: string; readonly color: boolean },
): string {
  const paint = (style: "bold" | "red" | "cyan" | "dim", text: string) =>
    color ? styleText(style, text, { validateStream: false }) : text;
  const place = fault.line === undefined ? file : `${file}:${fault.line}:${fault.column}`;
  const parts = [`${paint("bold", place)}: ${paint("red", fault.code)}: ${fault.message}`];
  if (fault.line !== undefined && fault.column !== undefined) {
    parts.push(...frame(lines[fault.line - 1] ?? "", fault.line, fault.column, paint));
  }
  if (fault.path !== "") parts.push(`  at ${paint("dim", fault.path)}`);
  if (fault.allowed !== undefined) parts.push(`  allowed: ${fault.allowed}`);
  if (fault.suggestion !== undefined) {
    parts.push(`  did you mean ${paint("cyan", fault.suggestion)}?`);
  }
  return `${parts.join("\n")}\n`;
}

function frame(
  line: string,
  number: number,
  column: number,
  paint: (style: "red" | "dim", text: string) => string,
): string[] {
  const from = Math.max(0, column - LINE_CHARS_MAX / 2);
  const shown = line.slice(from, from + LINE_CHARS_MAX).replaceAll("\t", " ");
  const gutter = `${number} | `;
  return [
    `  ${paint("dim", gutter)}${shown}`,
    `  ${" ".repeat(gutter.length + column - 1 - from)}${paint("red", "^")}`,
  ];
}
