// The gateway that hostile clients are against: routes of every kind of action, bounds of a second or
// so, and behind it an origin that answers well.

import type { TestContext } from "node:test";
import { startEdge } from "../support/edge.ts";
import type { Edge, EdgeOptions } from "../support/edge.ts";
import { PROBE_PATH } from "./honest-origin.ts";

export const PATHS: readonly string[] = [
  ...["/a", "/echo", "/respond", "/redirect/x", "/small", "/get-only", "/a/b?c=d", "/none"],
];
const SLOW_MS = 1_000;

export function startRoutes(
  t: TestContext,
  originPort: number,
  rest: Omit<Partial<EdgeOptions>, "config" | "timeouts"> = {},
): Promise<Edge> {
  const exact = (path: string) => ({ paths: [{ exact: path }] });
  const prefix = (path: string) => ({ prefix: path });
  return startEdge(t, {
    ...rest,
    timeouts: { head_ms: SLOW_MS, body_idle_ms: SLOW_MS, idle_ms: SLOW_MS },
    config: {
      // Connections of its own for who asks well: an origin may close those of the others at any time.
      upstreams: ["origin", "probe"].map((name) => ({
        name,
        targets: [{ address: `127.0.0.1:${originPort}` }],
        timeouts: { first_byte_ms: 2 * SLOW_MS, idle_ms: 2 * SLOW_MS },
      })),
      routes: [
        {
          name: "most",
          match: { paths: ["/a", "/b.c", "/A", "/~", "/e@f", "/socket"].map(prefix) },
          upstream: "origin",
          retries: { attempts: 1 },
          websocket: { idle_ms: 100 },
        },
        { name: "probe", match: exact(PROBE_PATH), upstream: "probe" },
        { name: "echo", match: exact("/echo"), echo: true },
        { name: "respond", match: exact("/respond"), respond: { status: 200, body: "hello" } },
        {
          name: "redirect",
          match: { paths: [prefix("/redirect")] },
          redirect: { to: "https://b.example/", status: 308 },
        },
        { name: "small", match: exact("/small"), upstream: "origin", body_bytes_max: 10 },
        {
          name: "get-only",
          match: { ...exact("/get-only"), methods: ["GET"] },
          upstream: "origin",
          server_timing: true,
        },
      ],
    },
  });
}
