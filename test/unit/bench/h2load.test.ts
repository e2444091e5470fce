// The load over HTTP/2: what h2load writes and logs becomes figures, and it sends what it was told to a
// server that counts.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Children, allowedCpus, findProgram } from "../../../bench/load/children.ts";
import { findH2load, parseH2load } from "../../../bench/load/h2load.ts";
import { selfSignedCertificate } from "../../../gateway/cluster/self-signed.ts";

const WRITTEN = `Application protocol: h2

finished in 2.01s, 30040.00 req/s, 6.31MB/s
requests: 60080 total, 60720 started, 60080 done, 54042 succeeded, 6038 failed, 7 errored, 0 timeout
status codes: 54042 2xx, 0 3xx, 6030 4xx, 1 5xx
traffic: 12.61MB (13222593) total, 121.09KB (124001) headers (space savings 95.20%)
time for request:     5.14ms     57.20ms     19.03ms      7.31ms    81.11%
`;
const LOG = [300, 100, 200].map((us) => `1795558629844937\t200\t${us}\n`).join("");

test("the result is read from what h2load writes and logs", () => {
  const expected = {
    requests: 60_080,
    durationUs: 2_010_000,
    bytes: 13_222_593,
    p50Us: 200,
    p99Us: 300,
    refused: 6_031,
    lost: 7,
  };
  assert.deepEqual(parseH2load(WRITTEN, LOG), expected);
  const short = WRITTEN.replace("in 2.01s", "in 501.50ms");
  assert.deepEqual(parseH2load(short, LOG), { ...expected, durationUs: 501_500 });
});

test("a result that is incomplete is an error, not zeros", () => {
  const cases: [string, RegExp][] = [
    ["", /no time/],
    [WRITTEN.replace("60080 done, ", ""), /done/],
    [WRITTEN.replace("traffic:", ""), /traffic/],
    [WRITTEN.replace(", 1 5xx", ""), /5xx/],
  ];
  for (const [output, message] of cases) {
    assert.throws(() => parseH2load(output, LOG), { message });
  }
});

const skip = findProgram("h2load") === null ? "h2load is not installed" : false;
test(
  "h2load counts what the server answered and refused, over HTTP/2 alone",
  { skip },
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "bench-h2load-"));
    t.after(() => rmSync(directory, { recursive: true }));
    await selfSignedCertificate(directory);
    const read = (kind: string) => readFileSync(join(directory, `tls/self-signed.${kind}`));
    const server = http2.createSecureServer({ cert: read("crt"), key: read("key") });
    let seen = 0;
    const hosts = new Set<unknown>();
    server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
      hosts.add(headers[":authority"]);
      stream.respond({ ":status": ++seen % 10 === 0 ? 403 : 200 });
      stream.end("ok");
    });
    t.after(() => server.close());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const tool = findH2load(new Children(), { cpus: allowedCpus(), directory }, 5);
    assert.ok(tool !== null);
    const url = `https://127.0.0.1:${port}/api/orders`;
    const load = { url, method: "GET", bodyBytes: 0, tokensFile: null, connections: 3 } as const;
    const result = await tool.run({ ...load, seconds: 1 });
    assert.equal(result.requests, seen);
    assert.equal(result.refused, Math.floor(seen / 10));
    assert.equal(result.lost, 0);
    assert.deepEqual([...hosts], ["localhost"]);
    assert.ok(result.p50Us > 0 && result.p50Us <= result.p99Us);
    await assert.rejects(tool.run({ ...load, method: "POST", seconds: 1 }), /plain GET/);
  },
);
