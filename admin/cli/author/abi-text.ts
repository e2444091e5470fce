// plugins-src/abi.md as the command line tells it: what a function is for and what a code means. One
// text for both, and a test holds it to the code.

import { readFileSync } from "node:fs";
import { join } from "node:path";

const FILE = join(import.meta.dirname, "../../../plugins-src/abi.md");

export class AbiText {
  readonly #text = readFileSync(FILE, "utf8");

  /** What a host function does, by its name without module; empty when it is none. */
  functionPurpose(name: string): string {
    return this.#row(`${name}\\([^\`]*`, 1);
  }

  /** When an export is called. */
  exportPurpose(name: string): string {
    return this.#row(name, 1);
  }

  /** The sentence of a code of a failed call or a refused upload. */
  codeMeaning(code: string): string {
    return this.#row(code, -1);
  }

  #row(first: string, column: number): string {
    const line = new RegExp(`^\\| \`${first}\`.*$`, "m").exec(this.#text)?.[0] ?? "";
    const cells = line.split(/(?<!\\)\|/).slice(1, -1);
    return (cells.at(column) ?? "").trim().replaceAll("`", "");
  }
}
