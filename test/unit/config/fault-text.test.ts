// Faults as a person reads them: the words and the frame, a terminal that gets nothing but text
// whatever the file holds, long lines cut around the place, lines with secrets not shown.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { stripVTControlCharacters } from "node:util";
import type { Fault } from "../../../gateway/config/fault.ts";
import { formatFaults } from "../../../gateway/config/fault-text.ts";
import { checkConfigText } from "../../../gateway/config/parse.ts";
import { SEED } from "../../support/random.ts";
import { makeContext } from "./made-context.ts";

// What moves the cursor, colours, rings, hides, or turns the direction of writing: C0, DEL, C1, line
// separators, every character with the property Bidi_Control, the mark of byte order.
const UNSAFE = /[\p{Cc}\p{Bidi_Control}\u2028\u2029\ufeff]/u;

const FAULT: Fault = { code: "unknown_key", message: "the key is not known here", path: "" };

function format(faults: readonly Fault[], text = "", file = "a.yaml"): string {
  return formatFaults(faults, { file, text, color: false });
}

test("a fault says where, what, the line with a mark, the pointer, what is allowed and what was meant", () => {
  const text = "drain_ms: 1\nroutes:\n  - nmae: a\n    echo: true\n";
  const checked = checkConfigText(text, makeContext());
  assert.ok(!checked.ok);
  assert.equal(
    format([...checked.faults, { ...FAULT, path: "/a" }], text),
    `a.yaml:3:5: error[unknown_key]: the key "nmae" is not known here
  3 |   - nmae: a
          ^
  at /routes/0/nmae
  allowed: name, match, priority, plugins, upstream, redirect, respond, rewrite, request_headers, ` +
      `response_headers, body_bytes_max, timeout_ms, websocket, forward_client_cert, server_timing, record, retries
  did you mean name?

a.yaml: error[unknown_key]: the key is not known here
  at /a

2 faults
`,
  );
});

test("one fault is counted as one, none as none", () => {
  assert.match(format([FAULT]), /\n1 fault\n$/);
  assert.equal(format([]), "0 faults\n");
});

test("what is allowed is not said twice, and not at any length", () => {
  const said = { ...FAULT, message: "expected a number", allowed: "a number" };
  assert.ok(!format([said]).includes("allowed"));
  const long = format([{ ...FAULT, allowed: "x".repeat(1000) }]);
  assert.match(long, /allowed: x{300}\.\.\.\n/);
});

test("colour changes nothing but the colour", () => {
  const text = "a: 1\nb: 2";
  const faults = [{ ...FAULT, line: 2, column: 1, path: "/b", allowed: "a", suggestion: "a" }];
  const colored = formatFaults(faults, { file: "a.yaml", text, color: true });
  assert.notEqual(colored, format(faults, text));
  assert.equal(stripVTControlCharacters(colored), format(faults, text));
});

test("a terminal gets no control character, whatever the file, its name and its faults hold", () => {
  const nasty = fc.string({
    unit: fc.oneof(
      fc.constantFrom(
        "\x1b[2J",
        "\x07",
        "\r",
        "\b",
        "\x7f",
        "\x9b31m",
        "\u202e",
        "\u2066",
        "\u061c",
      ),
      fc.constantFrom("\u200e", "\u2028", "\ufeff", "\x00", "a", "é", "😀", "界"),
    ),
  });
  fc.assert(
    fc.property(nasty, nasty, nasty, fc.nat({ max: 30 }), (line, words, file, column) => {
      const fault = {
        code: "syntax",
        message: words,
        path: `/${words}`,
        line: 1,
        column: column + 1,
        allowed: words,
        suggestion: words,
      };
      const output = format([fault], line, file);
      for (const shown of output.split("\n")) assert.doesNotMatch(shown, UNSAFE);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test("the checker's own faults about such texts are safe too", () => {
  const texts = [
    'a: "\x1b]0;title\x07"',
    "\x9b31mkey: 1",
    "\u202eyek: 1",
    '{"\\u001b[31m": 1}',
    "routes: [{ name: '\u2067x', echo: true }]",
    '"\\e[31m": 1',
    'routes: [{ name: a, upstream: "\\e[2J\\n" }]',
    "? |\n  a\n  b\n: 1",
    "? 'a\n\n  error: fake'\n: 1",
  ];
  for (const text of texts) {
    const checked = checkConfigText(text, makeContext());
    assert.ok(!checked.ok, text);
    const output = format(checked.faults, text);
    for (const shown of output.split("\n")) assert.doesNotMatch(shown, UNSAFE);
    // No text of the file begins a line of its own.
    for (const shown of output.trimEnd().split("\n").slice(0, -1)) {
      assert.match(shown, /^(a\.yaml:\d+:\d+: error\[|  |$)/, shown);
    }
  }
});

test("the mark is below the character at any place of a line of any length", () => {
  fc.assert(
    fc.property(fc.nat({ max: 400 }), fc.nat({ max: 400 }), (length, at) => {
      const column = Math.min(at, length) + 1;
      // Every character is told apart from its neighbours.
      const line = Array.from({ length }, (_, i) => String.fromCharCode(0x4e00 + i)).join("");
      const output = format([{ ...FAULT, line: 1, column }], `${line}\nnext`).split("\n");
      const [, shown, mark] = output;
      assert.ok(shown.length <= "  1 | ".length + 120);
      assert.equal(shown[mark.indexOf("^")], line[column - 1]);
      assert.equal(mark.trim(), "^");
      if (length <= 120) assert.equal(shown, `  1 | ${line}`);
    }),
    { seed: SEED, numRuns: 500 },
  );
});

test("a thousand faults on one line of a megabyte are said in bounded time and space", () => {
  const text = "x".repeat(1_000_000);
  const faults = Array.from({ length: 1000 }, (_, i) => ({
    ...FAULT,
    line: 1,
    column: i * 1000 + 1,
  }));
  const startedMs = performance.now();
  const output = format(faults, text);
  assert.ok(performance.now() - startedMs < 2000);
  assert.ok(output.length < 1000 * 400);
});

test("the frame is of the line that the fault names, also at the text's end and with CRLF", () => {
  const text = "a: 1\r\nb: 2\r\n";
  const frameAt = (line: number) => format([{ ...FAULT, line, column: 1 }], text).split("\n")[1];
  assert.equal(frameAt(1), "  1 | a: 1");
  assert.equal(frameAt(2), "  2 | b: 2");
  assert.equal(frameAt(3), "  3 | ");
  assert.equal(frameAt(4), "  4 | ", "a place outside of the text is no failure");
});

test("a line that may hold a secret is not shown for any fault on it", () => {
  const shown = (line: string, more: Partial<Fault> = {}) =>
    format([{ ...FAULT, line: 1, column: 1, ...more }], line).includes("1 |");
  const table: [line: string, isShown: boolean, more?: Partial<Fault>][] = [
    ["name: a", true],
    ["name: a", false, { found: "(secret)" }],
    ["{ alg: HS, secret: x }", false],
    ['{ "secret": "x" }', false],
    ["'secret' : x", false],
    ["client_secret: x", false],
    ["secrets_dir: x", true],
    ["secrte: x", false, { found: "secrte", suggestion: "secret" }],
    ["secrte: x", true, { found: "secrte" }],
    ["public_key: x", false],
    ["jwk: { kty: EC, d: x }", false],
    ["d: x", false],
    ['{"kty":"RSA","dp":"x"}', false],
    ["kid: x", true],
    ["hash: plain", false],
    ["hahs: plain", false, { found: "hahs", suggestion: "hash" }],
    ["hash: sha256:00", true],
    ['hash: "$env:A"', true],
    ["hash: { by: ip }", true],
    ["hash:", true],
  ];
  for (const [line, isShown, more] of table) assert.equal(shown(line, more), isShown, line);
  const two = [FAULT, { ...FAULT, found: "(secret)" }].map((one) => ({
    ...one,
    line: 1,
    column: 1,
  }));
  assert.ok(!format(two, "name: a").includes("1 |"), "nor for another fault on the line");
});
