// Our strict parsers against llhttp's strict one, over generated and mutated messages. What ours
// takes, llhttp must take as well and read the same: then whatever llhttp refuses is refused, and
// no origin or proxy built on it can see another message than we did. Where ours is stricter is
// fine, and counted. Time-boxed: FUZZ_SECONDS for all searches together, SEED repeats a run.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { IdSource } from "../../gateway/base/ids.ts";
import { acceptRequest } from "../../gateway/http/accept.ts";
import type { H1Connection } from "../../gateway/http/h1/connection.ts";
import type { Snapshot } from "../../gateway/http/snapshot.ts";
import { ChunkedDecoder } from "../../gateway/wire/chunked.ts";
import { STRIDE } from "../../gateway/wire/fields.ts";
import type { FieldList } from "../../gateway/wire/fields.ts";
import { RequestHead, parseRequestHead } from "../../gateway/wire/request-head.ts";
import { ResponseHead, parseResponseHead } from "../../gateway/wire/response-head.ts";
import { RequestJudge, judgeResponse } from "../support/llhttp.ts";
import type { Judgement } from "../support/llhttp.ts";
import { chunkedBodies, requestHeads, responseHeads } from "../support/message-text.ts";
import { Tally, searchMs, untilTime } from "../support/random.ts";

const SECONDS_DEFAULT = 5;
/** What a search must have met for its silence to mean something. */
const ACCEPTED_MIN = 100;

/** Up to the first empty line, as a connection cuts it out; null when there is none. */
function headOf(text: string): string | null {
  const end = text.indexOf("\r\n\r\n");
  return end === -1 ? null : text.slice(0, end + 4);
}

/** The head as the gateway accepts it, its target and host included; null when it is refused. */
function acceptedHead(text: string): RequestHead | null {
  const head = parseRequestHead(text);
  if (!(head instanceof RequestHead)) return null;
  // Of its connection and snapshot, accepting reads no more than this.
  const connection = { scheme: "http", peer: { address: "192.0.2.1", tls: null } } as H1Connection;
  const snapshot = { trustedProxies: null } as Snapshot;
  const { fault } = acceptRequest({ ids: new IdSource(), snapshot }, connection, head);
  return fault === null ? head : null;
}

function namesAndValues({ at, text }: FieldList): string[] {
  const list: string[] = [];
  for (let i = 0; i < at.length; i += STRIDE) {
    list.push(text.slice(at[i], at[i + 1]), text.slice(at[i + 2], at[i + 3]));
  }
  return list;
}

/** The body's data and where it ends; null when it is refused or not complete. */
function decode(text: string): { data: string; end: number } | null {
  const decoder = new ChunkedDecoder();
  let data = "";
  const end = decoder.push(Buffer.from(text, "latin1"), 0, (bytes, from, to) => {
    data += bytes.latin1Slice(from, to);
  });
  return end === -1 || !decoder.done ? null : { data, end };
}

function assertRead(
  judgement: Judgement,
  text: string,
): asserts judgement is Judgement & { kind: "read" } {
  assert.equal(judgement.kind, "read", `llhttp refuses ${JSON.stringify(text)}`);
}

test("a request head that we take, llhttp takes and reads the same", async (t) => {
  const judge = new RequestJudge();
  const tally = new Tally();
  const search = fc.asyncProperty(requestHeads, async (text) => {
    const whole = headOf(text);
    const ours = whole === null ? null : acceptedHead(whole);
    const theirs = await judge.read(whole ?? text);
    tally.add("heads");
    if (ours === null) {
      tally.add(theirs.kind === "read" ? "refused by us alone" : "refused by both");
      return;
    }
    tally.add("taken by both");
    assertRead(theirs, ours.fields.text);
    assert.equal(ours.method, theirs.method);
    assert.equal(ours.target, theirs.target);
    assert.equal(ours.minor, theirs.minor);
    assert.deepEqual(namesAndValues(ours.fields), theirs.fields);
    // Alone, a head is the whole message exactly when no body follows it.
    assert.equal(!ours.hasBody, theirs.body === "");
  });
  await fc.assert(search, untilTime(searchMs(0.4, SECONDS_DEFAULT)));
  tally.report(t);
  assert.ok(tally.of("taken by both") >= ACCEPTED_MIN);
});

test("a chunked body that we take, llhttp takes, with the same data and end", async (t) => {
  const judge = new RequestJudge();
  const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const bodyOf = async (body: string) => {
    const judgement = await judge.read(head + body);
    return judgement.kind === "read" ? judgement.body : null;
  };
  const tally = new Tally();
  const search = fc.asyncProperty(chunkedBodies, async (text) => {
    tally.add("bodies");
    const ours = decode(text);
    if (ours === null) {
      tally.add((await bodyOf(text)) === null ? "refused by both" : "refused by us alone");
      return;
    }
    tally.add("taken by both");
    assert.equal(await bodyOf(text.slice(0, ours.end)), ours.data);
    assert.equal(await bodyOf(text.slice(0, ours.end - 1)), null, "llhttp saw its end before us");
  });
  await fc.assert(search, untilTime(searchMs(0.3, SECONDS_DEFAULT)));
  tally.report(t);
  assert.ok(tally.of("taken by both") >= ACCEPTED_MIN);
});

/** What follows a response's head, when it is complete in the text; null otherwise. */
function responseBody(head: ResponseHead, method: string, rest: string) {
  switch (head.framing(method)) {
    case "none":
      return { data: "", end: 0 };
    case "length": {
      const end = head.contentLength;
      return rest.length < end ? null : { data: rest.slice(0, end), end };
    }
    case "chunked":
      return decode(rest);
    default:
      return { data: rest, end: rest.length };
  }
}

test("a response that we take, llhttp takes and reads the same", async (t) => {
  const tally = new Tally();
  const responses = fc.tuple(
    responseHeads,
    fc.oneof(fc.constantFrom("", "abc"), chunkedBodies),
    fc.constantFrom("GET", "GET", "HEAD"),
  );
  const search = fc.asyncProperty(responses, async ([text, rest, method]) => {
    tally.add("responses");
    const whole = headOf(text);
    const ours = whole === null ? "incomplete" : parseResponseHead(whole);
    if (whole === null || typeof ours === "string") {
      const theirs = await judgeResponse(text, method);
      tally.add(theirs.kind === "read" ? "refused by us alone" : "refused by both");
      return;
    }
    tally.add("heads taken by both");
    const alone = await judgeResponse(whole, method);
    assertRead(alone, whole);
    assert.equal(ours.status, alone.status);
    assert.equal(ours.reason, alone.reason);
    assert.equal(ours.minor, alone.minor);
    assert.deepEqual(namesAndValues(ours.fields), alone.fields);
    const body = responseBody(ours, method, rest);
    if (body === null) return;
    tally.add("bodies taken by both");
    const theirs = await judgeResponse(whole + rest.slice(0, body.end), method);
    assertRead(theirs, whole);
    assert.equal(theirs.body, body.data);
  });
  await fc.assert(search, untilTime(searchMs(0.3, SECONDS_DEFAULT)));
  tally.report(t);
  assert.ok(tally.of("bodies taken by both") >= ACCEPTED_MIN);
});
