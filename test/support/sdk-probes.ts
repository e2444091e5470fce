// What both SDKs must say and see: cases for the plugin that exists in both languages and uses all of
// its SDK, plugins-src/assemblyscript/sdk/probe.ts and plugins-src/rust/sdk/probe.rs.

import type { Decided, PluginCase } from "./plugin-cases.ts";

const SHA_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/**
 * What the probe is asked, and what its decision must hold, by a sentence about the SDK. `faults` are
 * the parts of a refusal, in the order of the alphabet.
 */
export const PROBES: readonly (readonly [sentence: string, asked: PluginCase, wanted: Decided])[] =
  [
    [
      "asks for everything",
      {
        request: {
          method: "POST",
          path: "/tell",
          query: "text=a%20b&text=c",
          headers: { "x-in": "in" },
          client_ip: "203.0.113.9",
          consumer: "acme",
          claims: { sub: "päivi 😀" },
          route: "orders",
          params: { id: "7" },
          values: { before: "set" },
        },
        config: { word: "w" },
        now: "2026-11-24T12:00:00.900Z",
      },
      {
        action: "respond",
        status: 201,
        body: told({
          method: "POST",
          query: "text=a%20b&text=c",
          client_ip: "203.0.113.9",
          route: "orders",
          consumer: "acme",
          query_param: "a b",
          header: "in",
          param: "7",
          claim: "päivi 😀",
          claim_json: '"päivi 😀"',
          config: "w",
          value: "set",
          now: "1795521600",
        }),
      },
    ],
    [
      "sees the missing and the empty as the same",
      { request: { path: "/tell", headers: { "x-in": "" } }, config: { word: "" }, now: "1970" },
      { action: "respond", status: 201, body: told({ config: "" }) },
    ],
    [
      "adds a header of the answer twice",
      { request: { path: "/tell" } },
      {
        headers: [
          ["x-told", "1"],
          ["x-told", "2"],
          ["content-type", "text/plain; charset=utf-8"],
        ],
      },
    ],
    [
      "edits the request, the response and the values, and logs",
      { request: { path: "/edit", headers: { "x-in": "in" } }, config: { word: "w" } },
      {
        action: "continue",
        path: "/moved",
        request_headers: { "x-set": "w", "x-in": null },
        response_headers: { "x-out": "", server: null },
        added_response_headers: [
          ["x-more", "1"],
          ["x-more", "2"],
        ],
        values: { after: "set" },
        logs: ["edited", "warned"],
      },
    ],
    [
      "has a text that stands in for a missing configuration",
      { request: { path: "/edit" } },
      { request_headers: { "x-set": "none", "x-in": null } },
    ],
    [
      "reads and edits the response, every line of a header that has several",
      {
        request: { path: "/deep" },
        response: {
          status: 404,
          headers: [
            ["x-origin", "o"],
            ["set-cookie", "a=1"],
            ["Set-Cookie", "b=2"],
          ],
        },
      },
      {
        response_headers: {
          "x-out": "",
          server: null,
          "x-status": "404",
          "x-copy": "o",
          "x-cookies": "2",
          "x-origin": null,
          "set-cookie": null,
        },
        added_response_headers: [
          ["x-more", "1"],
          ["x-more", "2"],
          ["set-cookie", "a=1; Secure"],
          ["set-cookie", "b=2; Secure"],
        ],
        values: { after: "set", late: "set" },
      },
    ],
    [
      "fails a call about a response",
      { request: { path: "/fail-late" }, response: { status: 200 } },
      {
        action: "error",
        code: "PLUGIN_FAILED",
        message: "plugin@0.0.0: guest_error: told to fail late",
      },
    ],
    [
      "has defaults for every kind of field",
      { request: { path: "/config" } },
      { body: "a 3fe0000000000000 3 true x-none " },
    ],
    [
      "reads every kind of field",
      {
        request: { path: "/config" },
        config: {
          choice: "b",
          number: -1.25,
          whole: 10,
          flag: false,
          header: "X-Tier",
          texts: ["ä", "", '"\\\u0007😀'],
          table: { needed: "here" },
          tables: [{ text: "one" }, {}],
        },
      },
      { body: 'b bff4000000000000 10 false x-tier ä++"\\\u0007😀 here one -' },
    ],
    [
      "tells everything that is wrong with a configuration at once, and no value",
      {
        request: {},
        config: {
          word: 5,
          choice: "c",
          number: "secret",
          whole: 11,
          flag: null,
          header: "a b",
          texts: ["a", 1],
          table: {},
          tables: [{ text: "wrong", more: 1 }, { text: [] }],
          wrod: "secret",
        },
      },
      {
        action: "error",
        code: "PLUGIN_UNAVAILABLE",
        faults: [
          "choice must be one of a, b",
          "flag must be true or false, not null",
          "header must be a header's name",
          "number must be a number, not a text",
          "table.needed is missing",
          "tables[0].more is not one of the keys text",
          "tables[0].text must be right",
          "tables[1].text must be a text, not a list",
          "texts must be a list of texts",
          "whole must be a whole number from 1 to 10",
          "word must be a text, not a number",
          "wrod is not one of the keys word, choice, number, whole, flag, header, texts, table, tables",
        ],
      },
    ],
    [
      "counts faults beyond the first twelve",
      {
        request: {},
        config: { tables: Array.from({ length: 15 }, () => ({ text: 1 })) },
      },
      {
        faults: [
          "and 3 more",
          ...Array.from({ length: 12 }, (_, i) => `tables[${i}].text must be a text, not a number`),
        ].sort(),
      },
    ],
    [
      "refuses lists of something else, objects that are none, numbers that are not whole",
      {
        request: {},
        config: { texts: "a", table: [], tables: [[]], whole: 1.5, number: true, choice: 1 },
      },
      {
        faults: [
          "choice must be one of a, b, not a number",
          "number must be a number, not true or false",
          "table must be an object, not a list",
          "tables must be a list of objects",
          "texts must be a list of texts, not a text",
          "whole must be a whole number from 1 to 10",
        ],
      },
    ],
    ["hashes nothing", asking("/sha256", ""), { body: SHA_OF_NOTHING }],
    ["compares all bytes", asking("/same", "equal", { key: "equal" }), { body: "true" }],
    [
      "finds the first byte different",
      asking("/same", "equal", { key: "Equal" }),
      { body: "false" },
    ],
    [
      "finds the last byte different",
      asking("/same", "equal", { key: "equaL" }),
      { body: "false" },
    ],
    ["finds a length different", asking("/same", "equal", { key: "equa" }), { body: "false" }],
    ["reads hexadecimal text of both cases", asking("/hex", "00fFA9"), { body: "00ffa9" }],
    ["refuses half a byte of hexadecimal text", asking("/hex", "00f"), { body: "-" }],
    ["refuses other digits in hexadecimal text", asking("/hex", "0g"), { body: "-" }],
    ["refuses signs in hexadecimal text", asking("/hex", "+1"), { body: "-" }],
    [
      "denies with a reason",
      { request: { path: "/deny" } },
      { action: "respond", status: 403, body: "no", reason: "told to deny" },
    ],
    [
      "fails a call",
      { request: { path: "/fail" } },
      {
        action: "error",
        code: "PLUGIN_FAILED",
        message: "plugin@0.0.0: guest_error: told to fail",
      },
    ],
  ];

/** A request that asks the probe to work on a text. */
export function asking(
  path: string,
  text: string,
  more: Readonly<Record<string, string>> = {},
): PluginCase {
  return { request: { path, query: new URLSearchParams({ text, ...more }).toString() } };
}

// The probe's answer, by what differs from a bare request.
function told(fields: Readonly<Record<string, string>>): string {
  const all = {
    method: "GET",
    path: "/tell",
    query: "",
    host: "api.example.com",
    scheme: "https",
    client_ip: "192.0.2.1",
    tls: "-",
    id: "0123456789abcdef0123456789abcdef",
    route: "",
    consumer: "-",
    query_param: "-",
    header: "-",
    param: "-",
    claim: "-",
    claim_json: "-",
    config: "none",
    value: "-",
    now: "0",
    ...fields,
  };
  return Object.entries(all)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");
}
