// What `explain` says is what the data path does: the same requests are explained from the file and sent
// to the running gateway, whose echo tells the route and the path it would have forwarded.

import assert from "node:assert/strict";
import { test } from "node:test";
import { explainRequest } from "../../admin/cli/explain.ts";
import { checkConfigText } from "../../gateway/config/parse.ts";
import type { RouteConfig } from "../../gateway/config/schema.ts";
import { configText, runCommand, startGateway } from "../support/gateway.ts";
import { exchangeRaw, statusOf } from "../support/raw.ts";

function echo(name: string, match: RouteConfig["match"], rest: Partial<RouteConfig> = {}) {
  return { name, match, echo: true, ...rest };
}

const API = "api.example.com";
const ROUTES: RouteConfig[] = [
  echo("exact", { hosts: [API], paths: [{ exact: "/orders" }] }),
  echo("prefix", { hosts: [API], paths: [{ prefix: "/orders" }] }),
  echo("pattern", { hosts: [API], paths: [{ pattern: "/users/{id}" }] }),
  echo("pattern-rest", { hosts: [API], paths: [{ pattern: "/files/{path...}" }] }),
  echo("post", { hosts: [API], paths: [{ prefix: "/items" }], methods: ["POST", "PUT"] }),
  echo("get", { hosts: [API], paths: [{ prefix: "/items" }], methods: ["GET"] }),
  echo("gold", {
    hosts: [API],
    paths: [{ prefix: "/tier" }],
    headers: [{ name: "x-tier", exact: "gold" }],
  }),
  echo("tier", { hosts: [API], paths: [{ prefix: "/tier" }] }),
  echo("beta", {
    hosts: [API],
    paths: [{ prefix: "/q" }],
    query: [{ name: "beta", present: true }],
  }),
  echo("stable", { hosts: [API], paths: [{ prefix: "/q" }] }),
  echo("wildcard", { hosts: ["*.example.com"] }),
  echo("wildcard-deep", { hosts: ["*.deep.example.com"], paths: [{ prefix: "/" }] }),
  echo("forced", { paths: [{ prefix: "/forced" }] }, { priority: 10 }),
  echo(
    "stripped",
    { hosts: ["old.example.org"], paths: [{ prefix: "/v1" }] },
    {
      rewrite: { strip_prefix: "/v1", add_prefix: "/v2" },
    },
  ),
  echo("any-a", { paths: [{ prefix: "/a" }] }),
  echo("any-ab", { paths: [{ prefix: "/a/b" }] }),
];

type Asked = readonly [method: string, host: string, target: string, ...fields: string[]];

const REQUESTS: readonly Asked[] = [
  ["GET", API, "/orders"],
  ["GET", API, "/orders/"],
  ["GET", API, "/orders/1"],
  ["GET", API, "/ordersx"],
  ["GET", API, "/ORDERS"],
  ["GET", API, "//orders"],
  ["GET", API, "/orders/../orders"],
  ["GET", API, "/%6frders"],
  ["GET", API, "/orders%2f1"],
  ["GET", API, "/users/7"],
  ["GET", API, "/users/7/x"],
  ["GET", API, "/users/"],
  ["GET", API, "/users/a%20b"],
  ["GET", API, "/files/a/b/c"],
  ["GET", API, "/files"],
  ["POST", API, "/items"],
  ["PUT", API, "/items/1"],
  ["GET", API, "/items/1"],
  ["DELETE", API, "/items/1"],
  ["GET", API, "/tier", "x-tier: gold"],
  ["GET", API, "/tier", "X-Tier: gold"],
  ["GET", API, "/tier", "x-tier: silver"],
  ["GET", API, "/tier"],
  ["GET", API, "/q?beta"],
  ["GET", API, "/q?beta=1"],
  ["GET", API, "/q?BETA=1"],
  ["GET", API, "/q?x=beta"],
  ["GET", API, "/q"],
  ["GET", "other.example.com", "/orders"],
  ["GET", "a.b.example.com", "/orders"],
  ["GET", "x.deep.example.com", "/orders"],
  ["GET", "deep.example.com", "/orders"],
  ["GET", "example.com", "/orders"],
  ["GET", "API.EXAMPLE.COM", "/orders"],
  ["GET", "api.example.com.", "/orders"],
  ["GET", "api.example.com:8080", "/orders"],
  ["GET", "api.example.com", "/forced/x"],
  ["GET", "nobody.test", "/forced"],
  ["GET", "old.example.org", "/v1/things"],
  ["GET", "old.example.org", "/v1"],
  ["GET", "old.example.org", "/v2/things"],
  ["GET", "nobody.test", "/a"],
  ["GET", "nobody.test", "/a/b"],
  ["GET", "nobody.test", "/a/b/c"],
  ["GET", "nobody.test", "/a/c"],
  ["GET", "nobody.test", "/abc"],
  ["GET", "nobody.test", "/a/./b"],
  ["GET", "nobody.test", "/a/%2e%2e/a/b"],
  ["GET", "nobody.test", "/a\\b"],
  ["GET", "nobody.test", "/"],
  ["GET", "no body", "/a"],
  ["GET", "user@host", "/a"],
  ["HEAD", API, "/items"],
  ["OPTIONS", API, "/orders"],
  ["GET", API, "/orders?a=%zz"],
  ["GET", API, "/orders/%zz"],
];

test("explain agrees with the data path on every request", async (t) => {
  assert.ok(REQUESTS.length >= 50);
  const listeners = [{ name: "http", address: "127.0.0.1:0" }];
  const config = { listeners, routes: ROUTES };
  const gateway = await startGateway(t, { config });
  const checked = checkConfigText(configText(config), {
    plugins: null,
    readFile: () => "",
    env: {},
    baseDir: "/",
  });
  assert.ok(checked.ok);
  for (const [method, host, target, ...fields] of REQUESTS) {
    const what = `${method} ${host}${target} ${fields.join()}`;
    const headers = [["host", host], ...fields.map((field) => field.split(": "))];
    const explained = explainRequest(checked.config, {
      method,
      url: target,
      headers: headers as [string, string][],
    });
    const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const text = `${method} ${target} HTTP/1.1\r\n${lines}connection: close\r\n\r\n`;
    const answer = await exchangeRaw(t, gateway.port(), text);
    if (explained.route === null) {
      assert.equal(statusOf(answer.text), explained.status, what);
      continue;
    }
    assert.equal(statusOf(answer.text), 200, what);
    if (method === "HEAD") continue;
    const seen = JSON.parse(answer.text.slice(answer.text.indexOf("\r\n\r\n"))) as {
      route: string;
      path: string;
    };
    assert.deepEqual(
      [seen.route, seen.path],
      [explained.route, explained.forwardedPath],
      `${what}: ${explained.reason}`,
    );
  }
});

test("explain works offline, names the reason, and says with its exit code whether a route takes it", async (t) => {
  const gateway = await startGateway(t, { config: { listeners: [], routes: ROUTES } });
  const { configFile } = gateway;
  const url = "http://api.example.com/orders/7";
  const found = await runCommand(t, ["explain", "GET", url, "-c", configFile]);
  assert.equal(found.code, 0, found.stderr);
  assert.match(found.stdout, /^route +prefix$/m);
  assert.match(found.stdout, /^because +\S/m);
  const json = await runCommand(t, ["explain", "get", url, "-c", configFile, "--json"]);
  assert.equal((JSON.parse(json.stdout) as { route: string }).route, "prefix");
  const missed = await runCommand(t, ["explain", "GET", "http://nobody.test/", "-c", configFile]);
  assert.equal(missed.code, 1);
  assert.match(missed.stdout, /answered with 404/);
});
