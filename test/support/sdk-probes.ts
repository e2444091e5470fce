// What both SDKs must say and see: cases for the plugin that exists in both languages and uses all of
// its SDK, plugins-src/assemblyscript/sdk/probe.ts and plugins-src/rust/sdk/probe.rs.

import type { Decided, PluginCase } from "./plugin-cases.ts";

/** What the probe is asked, and what its decision must hold, by a sentence about the SDK. */
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
          config: "w",
          value: "set",
        }),
      },
    ],
    [
      "sees the missing and the empty as the same",
      { request: { path: "/tell", headers: { "x-in": "" } }, config: { word: "" } },
      { action: "respond", status: 201, body: told({}) },
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
      "reads and edits the response",
      { request: { path: "/deep" }, response: { status: 404, headers: { "x-origin": "o" } } },
      {
        response_headers: {
          "x-out": "",
          server: null,
          "x-status": "404",
          "x-copy": "o",
          "x-origin": null,
        },
      },
    ],
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
    config: "-",
    value: "-",
    status: "0",
    ...fields,
  };
  return Object.entries(all)
    .map(([name, value]) => `${name}=${value}`)
    .join("\n");
}
