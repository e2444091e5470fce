// What plugins see of a response and what becomes of their edits: every line of a header that has
// several, edits in order, and the text that the client gets in the end.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { buildResponseFields } from "../../../gateway/http/hygiene.ts";
import { localFields } from "../../../gateway/http/respond.ts";
import { HeadView, LocalView } from "../../../gateway/http/response-view.ts";
import type { ResponseView } from "../../../gateway/plugins/phases.ts";
import { ResponseHead, parseResponseHead } from "../../../gateway/wire/response-head.ts";
import { makeExchange } from "../../support/made-exchange.ts";

const HEADERS: readonly (readonly [string, string])[] = [
  ["Set-Cookie", "a=1"],
  ["x-other", "x"],
  ["set-cookie", "b=2"],
  ["Vary", "accept"],
  ["vary", "accept-language"],
];

type Made = { readonly view: ResponseView; readonly lines: () => string[] };

function fromOrigin(): Made {
  const text = HEADERS.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = parseResponseHead(`HTTP/1.1 200 OK\r\n${text}\r\n`);
  assert.ok(head instanceof ResponseHead);
  const exchange = makeExchange();
  const view = new HeadView(head, exchange);
  return { view, lines: () => linesOf(buildResponseFields(head, exchange)) };
}

function madeHere(): Made {
  const response = { status: 200, headers: HEADERS, body: "" };
  const exchange = makeExchange();
  const view = new LocalView(response, exchange);
  const { requestId } = exchange;
  return {
    view,
    lines: () => linesOf(localFields(response, requestId, exchange.responseEdits, 0)),
  };
}

// Without those of the gateway.
function linesOf(fields: string): string[] {
  const own = /^(HTTP\/|date:|x-request-id:|content-length:|$)/;
  const lines = fields.split("\r\n").filter((line) => !own.test(line));
  return lines.map((line) => line.replace(/^[^:]*/, (name) => name.toLowerCase()));
}

for (const [kind, make] of [
  ["a response of an origin", fromOrigin],
  ["a response made here", madeHere],
] as const) {
  describe(kind, () => {
    test("shows the first line of a header, and every one", () => {
      const { view } = make();
      assert.equal(view.header("set-cookie"), "a=1");
      assert.deepEqual(view.values("set-cookie"), ["a=1", "b=2"]);
      assert.equal(view.header("x-none"), null);
      assert.deepEqual(view.values("x-none"), []);
    });

    test("sends as many lines as were added, beside what was there", () => {
      const { view, lines } = make();
      view.add("set-cookie", "c=3");
      view.add("set-cookie", "c=3");
      view.add("x-new", "1");
      assert.deepEqual(view.values("set-cookie"), ["a=1", "b=2", "c=3", "c=3"]);
      assert.equal(view.header("x-new"), "1");
      assert.deepEqual(lines(), [
        "set-cookie: a=1",
        "x-other: x",
        "set-cookie: b=2",
        "vary: accept",
        "vary: accept-language",
        "set-cookie: c=3",
        "set-cookie: c=3",
        "x-new: 1",
      ]);
    });

    test("replaces all lines with those that are added after a removal", () => {
      const { view, lines } = make();
      view.add("set-cookie", "gone=1");
      view.remove("set-cookie");
      view.add("set-cookie", "a=1; Secure");
      view.add("set-cookie", "b=2; Secure");
      assert.deepEqual(view.values("set-cookie"), ["a=1; Secure", "b=2; Secure"]);
      assert.equal(view.header("set-cookie"), "a=1; Secure");
      const cookies = lines().filter((line) => line.startsWith("set-cookie"));
      assert.deepEqual(cookies, ["set-cookie: a=1; Secure", "set-cookie: b=2; Secure"]);
    });

    test("forgets what was added when a later edit sets the header", () => {
      const { view, lines } = make();
      view.add("set-cookie", "gone=1");
      view.add("x-kept", "1");
      view.set("set-cookie", "only=1");
      assert.deepEqual(view.values("set-cookie"), ["only=1"]);
      const edited = lines().filter((line) => /^(set-cookie|x-kept)/.test(line));
      assert.deepEqual(edited, ["set-cookie: only=1", "x-kept: 1"]);
    });

    test("appends to a list with all of its lines, none is lost", () => {
      const { view, lines } = make();
      view.append("vary", "origin");
      assert.deepEqual(view.values("vary"), ["accept, accept-language, origin"]);
      const vary = lines().filter((line) => line.startsWith("vary"));
      assert.deepEqual(vary, ["vary: accept, accept-language, origin"]);
    });
  });
}
