// Broken configurations, one file a case in test/golden/config. Each says in its leading comment, or
// in a file beside it that ends in .expected, what it is about and then every fault that must be
// found: `line:column code` and, where there is a nearest right word, `suggestion=word`. A file that
// says `valid` must have none. Found and expected are compared as whole sets.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Fault } from "../../../gateway/config/fault.ts";
import { formatFaults } from "../../../gateway/config/fault-text.ts";
import { checkConfigText } from "../../../gateway/config/parse.ts";
import { MASK } from "../../../gateway/config/secrets.ts";
import { makeCertificates, makeContext } from "./made-context.ts";

type Expected = { place: string; code: string; suggestion: string | undefined };
type Case = { file: string; about: string; text: string; expected: readonly Expected[] };

const FOLDER = path.resolve(import.meta.dirname, "../../golden/config");
// What every secret in the corpus begins with.
const SECRET = "do-not-show";
// A line that may hold a secret is shown nowhere; misspelt keys of the corpus are among these.
const SECRET_KEY = /\b(secret|secrte|public_key|pubic_key|jwk|jwkk)["']?\s*:/;

const cases = fs
  .readdirSync(FOLDER)
  .filter((file) => !file.endsWith(".expected"))
  .map(readCase);
const context = makeContext(await makeCertificates());

for (const { file, about, text, expected } of cases) {
  test(`${file}: ${about}`, () => {
    const checked = checkConfigText(text, context);
    if (expected.length === 0) {
      assert.deepEqual(checked.ok ? [] : checked.faults, []);
      return;
    }
    assert.ok(!checked.ok, "a broken configuration passed");
    const suggested = new Set(expected.filter((one) => one.suggestion !== undefined).map(keyOf));
    const found = checked.faults.map(({ line, column, code, suggestion }) => {
      const one = { place: `${line}:${column}`, code };
      return { ...one, suggestion: suggested.has(keyOf(one)) ? suggestion : undefined };
    });
    assert.deepEqual(found.map(lineOf).sort(), expected.map(lineOf).sort());
    assert.deepEqual(checked.faults, checked.faults.toSorted(byPlace), "not in the text's order");
    assertShown(checked.faults, file, text);
  });
}

test("every one-letter typo of the corpus gets the right suggestion, whatever was mistyped", (t) => {
  const counts = { inserted: 0, "left out": 0, replaced: 0, swapped: 0 };
  const wrong: string[] = [];
  for (const { file, text, expected } of cases) {
    const checked = checkConfigText(text, context);
    for (const { place, code, suggestion } of expected) {
      if (checked.ok || suggestion === undefined) continue;
      const fault = checked.faults.find(
        (one) => `${one.line}:${one.column}` === place && one.code === code,
      );
      const kind = typoKind(wordOf(fault?.found ?? ""), suggestion);
      if (kind === null) continue;
      counts[kind]++;
      if (fault?.suggestion !== suggestion) wrong.push(`${file}:${place} ${suggestion}`);
    }
  }
  t.diagnostic(JSON.stringify(counts));
  assert.deepEqual(wrong, []);
  for (const count of Object.values(counts)) assert.ok(count >= 25, "the corpus lost its typos");
});

test("the corpus is what it claims to be: sixty broken files and a few valid ones", () => {
  const valid = cases.filter(({ expected }) => expected.length === 0);
  assert.ok(valid.length >= 5);
  assert.ok(cases.length - valid.length >= 60);
  const codes = new Set(cases.flatMap(({ expected }) => expected.map(({ code }) => code)));
  // Of the codes in fault.ts only too_large needs a text that is too large to keep.
  assert.equal(codes.size, 11);
});

// Every fault as a person sees it: its place, its line, and the mark below the right character.
function assertShown(faults: readonly Fault[], file: string, text: string): void {
  const output = formatFaults(faults, { file, text, color: false });
  assert.ok(!output.includes(SECRET), `a secret is shown:\n${output}`);
  const blocks = output.split("\n\n");
  assert.match(blocks.pop() ?? "", /^\d+ faults?\n$/);
  assert.equal(blocks.length, faults.length);
  const lines = text.split("\n");
  const secretLines = new Set(faults.filter(({ found }) => found === MASK).map(({ line }) => line));
  faults.forEach(({ line = 0, column = 0, code, suggestion }, i) => {
    const [head, ...rest] = blocks[i].split("\n");
    assert.ok(head.startsWith(`${file}:${line}:${column}: error[${code}]: `), head);
    if (suggestion !== undefined) assert.ok(rest.includes(`  did you mean ${suggestion}?`));
    const gutter = `  ${line} | `;
    if (SECRET_KEY.test(lines[line - 1]) || secretLines.has(line)) return;
    assert.ok(rest[0].startsWith(gutter), `no line is shown:\n${blocks[i]}`);
    const at = rest[1].indexOf("^") - gutter.length;
    assert.match(rest[1], /^ *\^$/);
    const shown = rest[0].slice(gutter.length);
    const from = column - 1 - at;
    const source = lines[line - 1].replace(/\r$/, "").replace(/[\t\x1b\ufeff]/g, " ");
    assert.equal(shown, source.slice(from, from + shown.length));
    assert.ok(shown.length === 120 || shown === source, "only a long line is cut");
    assert.ok(at >= 0 && at <= shown.length, "the mark is below the line");
  });
}

function readCase(file: string): Case {
  const text = fs.readFileSync(path.join(FOLDER, file), "utf8");
  const beside = path.join(FOLDER, `${file}.expected`);
  const [about, ...lines] = fs.existsSync(beside)
    ? fs.readFileSync(beside, "utf8").trimEnd().split("\n")
    : leadingComment(text);
  if (about === "valid") return { file, about: "is valid", text, expected: [] };
  const expected = lines.map((line) => {
    const match = /^(\d+:\d+) ([a-z_]+)(?: suggestion=(\S+))?$/.exec(line);
    assert.ok(match !== null, `${file}: ${line}`);
    return { place: match[1], code: match[2], suggestion: match[3] };
  });
  assert.ok(expected.length > 0, `${file} says nothing of what is expected`);
  return { file, about, text, expected };
}

function leadingComment(text: string): string[] {
  const lines = text.split("\n");
  const end = lines.findIndex((line) => !line.startsWith("# "));
  return lines.slice(0, end).map((line) => line.slice(2).trimEnd());
}

function keyOf({ place, code }: { place: string; code: string }): string {
  return `${place} ${code}`;
}

function byPlace(a: Fault, b: Fault): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}

function lineOf(one: Expected): string {
  return one.suggestion === undefined ? keyOf(one) : `${keyOf(one)} suggestion=${one.suggestion}`;
}

// `found` of a key or a name is the word itself, of a value the word in quotes.
function wordOf(found: string): string {
  return found.startsWith('"') ? (JSON.parse(found) as string) : found;
}

function typoKind(word: string, right: string) {
  const positions = Array.from({ length: Math.max(word.length, right.length) }, (_, i) => i);
  const without = (text: string, i: number) => text.slice(0, i) + text.slice(i + 1);
  if (positions.some((i) => without(word, i) === right)) return "inserted";
  if (positions.some((i) => without(right, i) === word)) return "left out";
  if (word.length !== right.length) return null;
  const wrong = positions.filter((i) => word[i] !== right[i]);
  if (wrong.length === 1) return "replaced";
  const [i, j] = wrong;
  const isSwap = wrong.length === 2 && j === i + 1 && word[i] === right[j] && word[j] === right[i];
  return isSwap ? "swapped" : null;
}
