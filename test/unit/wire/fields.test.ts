// The scan of field lines and the small readers it rests on: names and values by offset, the kinds
// that mean something to the gateway, names that are dropped, and Latin-1 blanks that must not be
// trimmed.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  eachListElement,
  equalsLower,
  isFieldValue,
  isToken,
  lowerCode,
} from "../../../gateway/wire/chars.ts";
import {
  FIELD,
  FieldList,
  STRIDE,
  parseContentLength,
  scanFields,
} from "../../../gateway/wire/fields.ts";

function scanned(text: string): FieldList {
  const list = new FieldList(text);
  assert.equal(scanFields(list, 0, 100), text.length);
  return list;
}

function kindsOf(list: FieldList): number[] {
  return list.at.filter((_, index) => index % STRIDE === STRIDE - 1);
}

test("values lose the blanks around them, and nothing else", () => {
  const blanks = [" ", "\t", " \t "];
  for (const before of ["", ...blanks]) {
    for (const after of ["", ...blanks]) {
      assert.equal(scanned(`x:${before}a b${after}\r\n\r\n`).get("x"), "a b");
      assert.equal(scanned(`x:${before}${after}\r\n\r\n`).get("x"), "");
    }
  }
  // String.prototype.trim would take these away, and what they hide with them.
  for (const kept of ["\xa0a", "a\xa0", "\x85a\x85", "\xada"]) {
    assert.equal(scanned(`x: ${kept}\r\n\r\n`).get("x"), kept);
  }
});

test("names are compared without regard to case, and never by prefix", () => {
  const list = scanned("X-Abc: 1\r\nx-ABC: 2\r\nX-Ab: 3\r\n\r\n");
  assert.equal(list.get("x-abc"), "1");
  assert.equal(list.get("x-ab"), "3");
  assert.equal(list.get("x-a"), null);
  assert.equal(list.get("x-abcd"), null);
  assert.equal(list.count, 3);
});

test("forEach tells every field in order, in lower case", () => {
  const seen: string[] = [];
  scanned("B: 1\r\na: 2\r\nB: 3\r\n\r\n").forEach((name, value) => seen.push(`${name}=${value}`));
  assert.deepEqual(seen, ["b=1", "a=2", "b=3"]);
});

test("names of Object.prototype are names like others", () => {
  const names = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"];
  const list = scanned(`${names.map((name) => `${name}: 1\r\n`).join("")}\r\n`);
  assert.equal(list.get("constructor"), "1");
  assert.equal(list.get("valueof"), null);
  assert.deepEqual(kindsOf(list), [
    FIELD.DROPPED,
    FIELD.ORDINARY,
    FIELD.ORDINARY,
    FIELD.ORDINARY,
    FIELD.ORDINARY,
  ]);
});

test("a name with an underscore is neither found nor told", () => {
  const list = scanned("Content_Length: 1\r\nx_: 2\r\n_: 3\r\nhost: a\r\n\r\n");
  assert.equal(list.get("content_length"), null);
  assert.equal(list.count, 4);
  const told: string[] = [];
  list.forEach((name) => told.push(name));
  assert.deepEqual(told, ["host"]);
});

const KINDS: readonly (readonly [kind: number, names: string])[] = [
  [FIELD.HOST, "host"],
  [FIELD.CONTENT_LENGTH, "content-length"],
  [FIELD.TRANSFER_ENCODING, "transfer-encoding"],
  [FIELD.CONNECTION, "connection"],
  [
    FIELD.HOP,
    "keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer http2-settings",
  ],
  [FIELD.UPGRADE, "upgrade"],
  [FIELD.EXPECT, "expect"],
  [
    FIELD.FORWARDING,
    "forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port" +
      " x-forwarded-client-cert x-real-ip",
  ],
  [FIELD.REQUEST_ID, "x-request-id"],
  [FIELD.TRACEPARENT, "traceparent"],
  [FIELD.DATE, "date"],
  [FIELD.SERVER, "server"],
];

test("every known name has its kind in any case, and its neighbours have none", () => {
  for (const [kind, names] of KINDS) {
    for (const name of names.split(" ")) {
      const mixed = name.replace(/(^|-)[a-z]/g, (first) => first.toUpperCase());
      for (const spelled of [name, name.toUpperCase(), mixed]) {
        assert.deepEqual(kindsOf(scanned(`${spelled}: a\r\n\r\n`)), [kind], spelled);
      }
      const near = [`${name}x`, `x${name}`, name.slice(0, -1), name.replace(/.$/, "!")];
      for (const other of near) {
        assert.deepEqual(kindsOf(scanned(`${other}: a\r\n\r\n`)), [FIELD.ORDINARY], other);
      }
    }
  }
});

test("one byte of every value decides what a name and a value may hold", () => {
  for (let code = 0; code < 256; code++) {
    const byte = String.fromCharCode(code);
    const inName = scanFields(new FieldList(`a${byte}b: 1\r\n\r\n`), 0, 9) > 0;
    assert.equal(inName, /[!#$%&'*+.^_`|~0-9A-Za-z:-]/.test(byte), `name ${code}`);
    const inValue = scanFields(new FieldList(`a: 1${byte}1\r\n\r\n`), 0, 9) > 0;
    assert.equal(inValue, /[\t\x20-\x7e\x80-\xff]/.test(byte), `value ${code}`);
    assert.equal(isFieldValue(`1${byte}`), inValue);
    assert.equal(isToken(`a${byte}`), inName && byte !== ":");
  }
  assert.equal(isToken(""), false);
  assert.equal(isFieldValue(""), true);
  assert.equal(isFieldValue("\u0100"), false);
  assert.equal(isToken("a\u0161"), false);
});

test("the count is bounded before the field is read", () => {
  assert.equal(scanFields(new FieldList("a:\r\nb:\r\n\r\n"), 0, 2), 10);
  assert.equal(scanFields(new FieldList("a:\r\nb:\r\nc:\r\n\r\n"), 0, 2), -2);
  assert.equal(scanFields(new FieldList("\r\n"), 0, 0), 2);
});

test("a text that ends within a line is refused", () => {
  const text = "a: b\r\nc: d\r\n\r\n";
  for (let end = 0; end < text.length; end++) {
    assert.equal(scanFields(new FieldList(text.slice(0, end)), 0, 9), -1, `at ${end}`);
  }
});

test("a length is 1 to 15 digits and nothing else", () => {
  const read = (text: string) => parseContentLength(`[${text}]`, 1, text.length + 1);
  for (const [text, length] of [
    ["0", 0],
    ["00", 0],
    ["10", 10],
    ["000000000000001", 1],
    ["999999999999999", 999_999_999_999_999],
  ] as const) {
    assert.equal(read(text), length);
  }
  const wrong = "|+1|-1|1.0|0x1|1_0|1,1|1 |\t1|\xa01|1e3|\u0661|0000000000000001|Infinity|NaN";
  for (const text of wrong.split("|")) assert.equal(read(text), -1, JSON.stringify(text));
});

test("list elements come without blanks, empty ones not at all", () => {
  const elementsOf = (value: string) => {
    const elements: string[] = [];
    eachListElement(value, (element) => elements.push(element));
    return elements;
  };
  assert.deepEqual(elementsOf(""), []);
  assert.deepEqual(elementsOf(" ,\t, "), []);
  assert.deepEqual(elementsOf("a"), ["a"]);
  assert.deepEqual(elementsOf(" a\t, b c ,,d"), ["a", "b c", "d"]);
  assert.deepEqual(elementsOf("\xa0a,"), ["\xa0a"]);
});

test("only ASCII letters change case", () => {
  for (let code = 0; code < 256; code++) {
    const isUpper = code >= 65 && code <= 90;
    assert.equal(lowerCode(code), isUpper ? code + 32 : code);
  }
  assert.equal(equalsLower("xKEYx", 1, 4, "key"), true);
  assert.equal(equalsLower("K\x45Y", 0, 3, "key"), true);
  // The Kelvin sign lower-cases to k in Unicode; here it is no letter.
  assert.equal(equalsLower("\u212aEY", 0, 3, "key"), false);
  assert.equal(equalsLower("[", 0, 1, "{"), false);
});
