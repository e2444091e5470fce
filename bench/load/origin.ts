// Starts the origin that all peers of a scenario share: raw node:net, so that it is the same on every
// machine. nginx answering `return 200` would need 7.0-7.8 us a request in place of 8.3-9.6, but it
// answers an upload before it has read it, which peers treat in different ways.

import { join } from "node:path";
import type { Child, Children } from "./children.ts";

export async function startOrigin(
  children: Children,
  options: { port: number; replyBytes: number; cpus: readonly number[] },
): Promise<Child> {
  const { port, replyBytes, cpus } = options;
  const file = join(import.meta.dirname, "origin-process.ts");
  return await children.start(process.execPath, [file, String(port), String(replyBytes)], { cpus });
}
