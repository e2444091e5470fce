// The gateway whose memory is measured: a primary and one worker, all defaults but for the times that
// would end what is measured, and the figures of the worker alone. Each line of the table has one of
// its own, so that none inherits what another left.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../gateway/config/schema.ts";
import { waitUntilReady } from "../load/check.ts";
import { allowedCpus } from "../load/children.ts";
import type { Children } from "../load/children.ts";
import { freePort } from "../load/run.ts";
import { parseMemoryField, processTree } from "../measure.ts";
import { gateway, gatewayConfig } from "../peers/gateway.ts";
import { HOST } from "../peers/peer.ts";
import type { CertificateFiles } from "../peers/peer.ts";

/** What all parts are given. */
export type Run = {
  readonly children: Children;
  /** An empty one that goes with the run. */
  readonly directory: string;
  say(line: string): void;
};

/** One line of the table. */
export type Finding = {
  readonly what: string;
  readonly bytes: number;
  readonly unit: "KB" | "MB";
  /** null: no target is set. */
  readonly targetBytes: number | null;
  readonly more: string;
};

export class Subject implements AsyncDisposable {
  readonly port: number;
  readonly #workerPid: number;
  readonly #stop: () => Promise<void>;

  constructor(port: number, workerPid: number, stop: () => Promise<void>) {
    this.port = port;
    this.#workerPid = workerPid;
    this.#stop = stop;
  }

  get rssBytes(): number {
    return this.#field("status", "VmRSS");
  }

  /** PSS without the pages of files, whose part moves with every other process of Node. */
  get ownBytes(): number {
    return this.#field("smaps_rollup", "Pss_Anon");
  }

  /** The largest RSS since it began, or since `forgetPeak`: the kernel's own count, no samples. */
  get peakRssBytes(): number {
    return this.#field("status", "VmHWM");
  }

  forgetPeak(): void {
    writeFileSync(`/proc/${this.#workerPid}/clear_refs`, "5"); // proc_pid_clear_refs(5)
  }

  #field(file: string, name: string): number {
    const text = readFileSync(`/proc/${this.#workerPid}/${file}`, "utf8");
    const bytes = parseMemoryField(text, name);
    if (bytes === null) throw new Error(`this kernel tells no ${name}`);
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop();
  }
}

/** Starts a gateway in front of an origin; resolves once it serves. */
export async function startSubject(
  { children, directory: parent }: Run,
  options: { readonly originPort: number; readonly tls: CertificateFiles | null },
): Promise<Subject> {
  const port = await freePort();
  const directory = join(parent, `gateway-${port}`);
  mkdirSync(directory);
  const place = { directory, port, adminPort: await freePort(), originPort: options.originPort };
  const setup = { ...place, tls: options.tls, jwt: null, wasm: null };
  const { files, args, env } = gateway.command(setup);
  const [file] = Object.keys(files);
  writeFileSync(join(directory, file), JSON.stringify(patient(gatewayConfig(setup))));
  const [program, url] = [gateway.find(), gateway.readyUrl?.(place)];
  if (program === null || url === undefined) throw new Error("there is no gateway here");
  const child = await children.start(program, args, { cpus: allowedCpus(), cwd: directory, env });
  try {
    await waitUntilReady({ url, method: "GET", bodyBytes: 0, host: HOST, token: null }, child);
    const [, ...workers] = processTree(child.pid);
    if (workers.length !== 1) throw new Error(`${workers.length} processes below the primary`);
    return new Subject(port, workers[0], () => child.stop());
  } catch (error) {
    await child.stop();
    throw error;
  }
}

// A slow body may take minutes, and so may opening thousands of connections.
function patient(config: Config): Config {
  return {
    ...config,
    listeners: config.listeners?.map((listener) => ({
      ...listener,
      timeouts: { idle_ms: 3_600_000 },
    })),
    routes: config.routes?.map((route) => ({ ...route, timeout_ms: 0 })),
  };
}
