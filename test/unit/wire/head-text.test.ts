// The text that a head is looked for in: all that was read where that is little, and never the body
// behind a head where it is much.

import assert from "node:assert/strict";
import { test } from "node:test";
import { headText } from "../../../gateway/wire/head-text.ts";

const HEAD = "GET / HTTP/1.1\r\nhost: \xe9\r\n\r\n";
const LARGE = "x".repeat(60_000);

test("the text of a head ends with it, or with what was read", () => {
  const long = `GET / HTTP/1.1\r\na: ${"y".repeat(4_000)}`;
  const cases: [what: string, read: string, text: string][] = [
    ["a head alone", HEAD, HEAD],
    ["little behind a head", `${HEAD}body`, `${HEAD}body`],
    ["much behind a head", HEAD + LARGE, HEAD],
    ["an empty line in the body", `${HEAD}${LARGE}\r\n\r\n`, HEAD],
    ["a long head that has not ended", long, long],
    ["a long head whose end is cut", `${long}\r\n\r`, `${long}\r\n\r`],
    ["the end of a head that began before", `\n${LARGE}`, `\n${LARGE}`],
  ];
  for (const [what, read, text] of cases) {
    const bytes = Buffer.from(`....${read}....`, "latin1");
    assert.equal(headText(bytes, 4, bytes.length - 4), text, what);
  }
});

test("a head that ends beyond the bound is not looked for there", () => {
  const bytes = Buffer.from(`${"y".repeat(4_000)}\r\n\r\n`);
  assert.equal(headText(bytes, 0, 4_002), `${"y".repeat(4_000)}\r\n`);
});
