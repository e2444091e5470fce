// The load: what wrk writes becomes figures, and both generators send what they were told to a
// server that counts. A load lasts one second, the least that wrk can do.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { Children, allowedCpus, findProgram } from "../../../bench/load/children.ts";
import { findLoadTool, parseLoadResult } from "../../../bench/load/client.ts";

const WRK = `Running 2s test @ http://localhost:45283/api/orders/12345
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.52ms    1.20ms  31.03ms   97.50%
    Req/Sec    44.87k     3.51k   50.30k    80.00%
  89311 requests in 2.01s, 24.61MB read
Requests/sec:  44542.17
Transfer/sec:     12.27MB
{"requests":89311,"durationUs":2005088,"bytes":25804879,"p50Us":1391,"p99Us":4210,"refused":2,"lost":1}
`;

test("the result is read from what wrk writes", () => {
  assert.deepEqual(parseLoadResult(WRK), {
    requests: 89_311,
    durationUs: 2_005_088,
    bytes: 25_804_879,
    p50Us: 1391,
    p99Us: 4210,
    refused: 2,
    lost: 1,
  });
});

test("a result that is absent or incomplete is an error, not zeros", () => {
  const cases: [string, RegExp][] = [
    ["", /told no result/],
    [WRK.slice(0, WRK.indexOf("{")), /told no result/],
    [WRK.replace('"p99Us":4210,', ""), /no p99Us/],
    [WRK.replace("89311,", '"89311",'), /no requests/],
    [WRK.replace(":1391,", ":-1,"), /no p50Us/],
    [WRK.slice(0, -20), /JSON/],
  ];
  for (const [output, message] of cases) {
    assert.throws(() => parseLoadResult(output), { message });
  }
});

type Seen = { requests: number; bodyBytes: number; readonly tokens: Set<string> };

/** Answers every request, and keeps what came; every tenth answer is a refusal. */
async function countingServer(t: TestContext): Promise<{ port: number; seen: Seen }> {
  const seen: Seen = { requests: 0, bodyBytes: 0, tokens: new Set() };
  const server = net.createServer((socket) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (end === -1 || text.length < end + 4 + length) return;
      seen.requests++;
      seen.bodyBytes += length;
      seen.tokens.add(/authorization: Bearer (\S+)/i.exec(text)?.[1] ?? "");
      text = text.slice(end + 4 + length);
      const status = seen.requests % 10 === 0 ? "403 Forbidden" : "200 OK";
      socket.write(`HTTP/1.1 ${status}\r\nContent-Length: 2\r\n\r\nok`);
    });
    socket.on("error", () => {});
  });
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as AddressInfo).port, seen };
}

for (const name of ["wrk", "node"] as const) {
  const skip = name === "wrk" && findProgram("wrk") === null ? "wrk is not installed" : false;
  test(`${name} counts what the server answered and refused`, { skip }, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "bench-client-"));
    t.after(() => rmSync(directory, { recursive: true }));
    const tokensFile = join(directory, "tokens");
    writeFileSync(tokensFile, "one\ntwo\nthree");
    const { port, seen } = await countingServer(t);
    const tool = findLoadTool(new Children(), allowedCpus(), name);
    const connections = 3;
    const url = `http://127.0.0.1:${port}/api/orders`;
    const load = { url, method: "POST", bodyBytes: 5000, connections, seconds: 1 } as const;
    const result = await tool.run({ ...load, tokensFile });
    // The last request of each connection may be answered after the end.
    assert.ok(result.requests > 0 && result.requests <= seen.requests);
    assert.ok(seen.requests - result.requests <= connections);
    assert.ok(Math.abs(result.refused - result.requests / 10) <= connections);
    assert.equal(result.lost, 0);
    assert.equal(seen.bodyBytes, seen.requests * 5000);
    assert.deepEqual([...seen.tokens].sort(), ["one", "three", "two"]);
    assert.ok(result.p50Us > 0 && result.p50Us <= result.p99Us);
    assert.ok(Math.abs(result.durationUs - 1e6) < 5e5, `${result.durationUs} us`);
  });
}
