// The whole gateway as its users start it: the command, a primary and workers as processes, a folder of
// its own. Started for one test and gone with it, whatever becomes of the test.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestContext } from "node:test";
import { stringify } from "yaml";
import type { Config } from "../../gateway/config/schema.ts";

export const ROOT = resolve(import.meta.dirname, "../..");
/** The command as it is installed. */
export const COMMAND = join(ROOT, "admin/cli/sallyport");
const START_MS = 20_000;

export type GatewayOptions = {
  readonly config: Config | string;
  /** Modules to have at start, by plugin name. */
  readonly plugins?: Readonly<Record<string, Uint8Array>>;
  readonly workers?: number;
  /** A folder to use again; a new one, removed with the test, when left out. */
  readonly folder?: string;
  readonly env?: Readonly<Record<string, string>>;
};

export type AdminAnswer = {
  readonly status: number;
  readonly headers: Headers;
  // oxlint-disable-next-line typescript/no-explicit-any -- tests look into answers of every shape
  readonly body: any;
  readonly text: string;
};

export type RunningGateway = {
  readonly folder: string;
  readonly dataDir: string;
  readonly configFile: string;
  readonly process: ChildProcess;
  readonly adminUrl: string;
  readonly key: string;
  /** Port of a listener, by its name; the first one's without a name. */
  port(name?: string): number;
  admin(method: string, path: string, body?: string | Uint8Array | object): Promise<AdminAnswer>;
  /** Everything written to standard error so far. */
  stderr(): string;
  stdout(): string;
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>;
  workerPids(): Promise<number[]>;
};

/** A folder that is removed when the test ends. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "sallyport-test-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Starts a gateway and waits until it says that it serves; rejects with what it said otherwise. */
export async function startGateway(
  t: TestContext,
  options: GatewayOptions,
): Promise<RunningGateway> {
  const folder = options.folder ?? temporaryFolder(t);
  const configFile = join(folder, "sallyport.yaml");
  const { config } = options;
  const text = typeof config === "string" ? config : configText(config);
  writeFileSync(configFile, text);
  const args = ["run", "-c", configFile, "--data-dir", join(folder, "var")];
  args.push("--workers", String(options.workers ?? 1));
  for (const [name, bytes] of Object.entries(options.plugins ?? {})) {
    writeFileSync(join(folder, `${name}.wasm`), bytes);
    args.push("--plugin", `${name}=${join(folder, `${name}.wasm`)}`);
  }
  const started = spawnCommand(t, args, { env: options.env, cwd: folder });
  const ready = await started.until(/admin (http:\/\/\S+)/, START_MS);
  const dataDir = join(folder, "var");
  const key = readFileSync(join(dataDir, "admin.key"), "utf8").trim();
  const adminUrl = ready[1];
  const ports = new Map<string, number>();
  for (const [, name, port] of ready.input.matchAll(/([a-z0-9._-]+) https?:\/\/\S+?:(\d+)/g)) {
    if (name !== "admin") ports.set(name, Number(port));
  }
  const admin: RunningGateway["admin"] = (method, path, body) =>
    callAdmin({ url: `${adminUrl}${path}`, key, method, body });
  return {
    folder,
    dataDir,
    configFile,
    process: started.process,
    adminUrl,
    key,
    admin,
    port: (name) => {
      const port = name === undefined ? [...ports.values()][0] : ports.get(name);
      if (port === undefined) throw new Error(`no listener ${name ?? ""} in ${ready.input}`);
      return port;
    },
    stderr: started.stderr,
    stdout: started.stdout,
    exited: started.exited,
    workerPids: async () => {
      const { body } = await admin("GET", "/admin/workers");
      return (body as { pid: number }[]).map(({ pid }) => pid);
    },
  };
}

/** The configuration's text, with an admin API on a free port unless it names one. */
export function configText(config: Config): string {
  return stringify({ admin: { listen: "127.0.0.1:0" }, ...config });
}

export type StartedCommand = {
  readonly process: ChildProcess;
  stdout(): string;
  stderr(): string;
  readonly exited: Promise<number | string>;
  /** Waits for a text on standard output. */
  until(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray>;
};

/** Starts the command line; killed, with its workers, when the test ends. */
export function spawnCommand(
  t: TestContext,
  args: readonly string[],
  options: { env?: Readonly<Record<string, string>> | undefined; cwd?: string } = {},
): StartedCommand {
  const child = spawn(COMMAND, args, {
    cwd: options.cwd ?? ROOT,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const look of waiting) look();
  };
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
    wake();
  });
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const exited = new Promise<number | string>((settle) => {
    child.once("exit", (code, signal) => {
      settle(code ?? signal ?? "");
      wake();
    });
  });
  // The workers follow: a primary that is gone ends them.
  t.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  return {
    process: child,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    until: (pattern, timeoutMs) =>
      new Promise((settle, reject) => {
        const end = (act: () => void) => {
          clearTimeout(timer);
          waiting.delete(look);
          act();
        };
        const look = () => {
          const found = pattern.exec(stdout);
          if (found !== null) end(() => settle(found));
          else if (child.exitCode !== null || child.signalCode !== null) {
            end(() => reject(new Error(`${args.join(" ")} ended early:\n${stdout}${stderr}`)));
          }
        };
        const timer = setTimeout(
          () => end(() => reject(new Error(`${pattern} did not come:\n${stdout}${stderr}`))),
          timeoutMs,
        );
        waiting.add(look);
        look();
      }),
  };
}

/** Runs the command line to its end. */
export async function runCommand(
  t: TestContext,
  args: readonly string[],
  options: { env?: Readonly<Record<string, string>>; cwd?: string } = {},
): Promise<{ code: number | string; stdout: string; stderr: string }> {
  const started = spawnCommand(t, args, options);
  const code = await started.exited;
  return { code, stdout: started.stdout(), stderr: started.stderr() };
}

/** Runs commands against a gateway, found as on its own host: the key lies in ./var. */
export function cli(t: TestContext, gateway: RunningGateway) {
  return (...args: string[]) =>
    runCommand(t, args, { cwd: gateway.folder, env: { SALLYPORT_ADMIN: gateway.adminUrl } });
}

async function callAdmin(call: {
  url: string;
  key: string;
  method: string;
  body: string | Uint8Array | object | undefined;
}): Promise<AdminAnswer> {
  const { body, key, method, url } = call;
  const isRaw = typeof body === "string" || body instanceof Uint8Array || body === undefined;
  const response = await fetch(url, {
    method,
    headers: { "x-api-key": key },
    body: isRaw ? (body as string | undefined) : JSON.stringify(body),
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") === true;
  const { status, headers } = response;
  return { status, headers, body: isJson ? JSON.parse(text) : text, text };
}
