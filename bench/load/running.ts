// The gateway as a process of its own, with a configuration of the bench's, on any free ports.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Config } from "../../gateway/config/schema.ts";
import { allowedCpus } from "./children.ts";
import type { Child, Children } from "./children.ts";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "gateway/main.ts");
const START_MS = 20_000;

export type RunningGateway = {
  readonly child: Child;
  /** Of the only listener. */
  readonly port: number;
  /** Asks the admin API; throws on an error's status. */
  admin(method: string, path: string, body?: Uint8Array): Promise<Response>;
};

export type RunningOptions = {
  /** With one listener, on port 0. */
  readonly config: Config;
  readonly workers: number;
  /** Modules by plugin name. */
  readonly plugins?: Readonly<Record<string, Uint8Array>>;
  readonly cpus?: readonly number[];
};

/** Starts a gateway; its folder goes with this process. */
export async function startGateway(
  children: Children,
  options: RunningOptions,
): Promise<RunningGateway> {
  const directory = mkdtempSync(join(tmpdir(), "sallyport-bench-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const config = { ...options.config, admin: { listen: "127.0.0.1:0" } };
  writeFileSync(join(directory, "sallyport.json"), JSON.stringify(config));
  const args = ["run", "-c", "sallyport.json", "--data-dir", "data"];
  args.push("--workers", String(options.workers));
  for (const [name, bytes] of Object.entries(options.plugins ?? {})) {
    writeFileSync(join(directory, `${name}.wasm`), bytes);
    args.push("--plugin", `${name}=${name}.wasm`);
  }
  const child = await children.start(process.execPath, [MAIN, ...args], {
    cpus: options.cpus ?? allowedCpus(),
    cwd: directory,
    // As the command sets it: without, each process holds the type stripper, 32 MB of it.
    env: { NODE_COMPILE_CACHE: join(ROOT, "node_modules/.cache/sallyport") },
  });
  const said = () => child.output.out + child.output.err;
  const endMs = performance.now() + START_MS;
  while (!/admin http/.test(said())) {
    if (performance.now() > endMs) throw new Error(`the gateway did not start: ${said()}`);
    await pause(50);
  }
  const adminUrl = /admin (http:\S+)/.exec(said())?.[1] ?? "";
  const { name } = config.listeners?.[0] ?? { name: "" };
  const port = Number(new RegExp(`${name} https?://\\S+?:(\\d+)`).exec(said())?.[1]);
  const key = readFileSync(join(directory, "data/admin.key"), "utf8").trim();
  const admin: RunningGateway["admin"] = async (method, path, body) => {
    const headers = { "x-api-key": key, "content-type": "application/wasm" };
    const init: RequestInit = { method, headers };
    if (body !== undefined) init.body = Buffer.from(body);
    const answer = await fetch(`${adminUrl}${path}`, init);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  return { child, port, admin };
}
