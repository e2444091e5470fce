// One guest in the hands of the official Extism SDK: what instance.ts is for our own kernel, with the
// same imports, the same bounds and the same outcomes, but for time, which whoever owns the thread
// bounds by ending it. Not to be used where requests are served: nothing here stops a loop.

import { registerHooks } from "node:module";
import type { Plugin } from "@extism/extism";
import { bindUser, isStackOverflow } from "./bind.ts";
import { Halt, type CallErrorCode } from "./errors.ts";
import { Guest, type HostFunction, type GuestLog, type LogLevel } from "./guest.ts";
import { bindAbort, bindHostCall, type HostState } from "./hostcalls.ts";
import { ASSEMBLYSCRIPT, EXTISM_ENV, EXTISM_USER, HOST_IMPORTS } from "./imports.ts";
import { failed, type Outcome } from "./instance.ts";
import type { Kernel } from "./kernel.ts";
import type { SandboxLimits } from "./limits.ts";
import { SdkMemory, type SdkFunction } from "./sdk-memory.ts";
import { WASI_GUEST } from "./sdk-wasi.ts";

const ERROR_BYTES_MAX = 1_024;
const PAGE_BYTES = 65_536;

export type Sdk = typeof import("@extism/extism");
type AnyFunction = (...args: never[]) => unknown;
type Imports = Record<string, Record<string, SdkFunction>>;

export type SdkInstanceOptions<C> = {
  /** Compiled from admitted bytes whose memory and table are clamped. */
  readonly module: WebAssembly.Module;
  readonly limits: SandboxLimits;
  readonly hostFunctions: ReadonlyMap<string, HostFunction<C>>;
  readonly state: HostState;
  readonly log: GuestLog<C>;
  readonly logLevel: LogLevel;
};

/**
 * Loads the SDK for the first time in a thread that runs nothing but guests. Its `wasi` is ours. It is not
 * to know of suspended calls either: it would serve `http_request` itself and promise every call.
 */
export async function loadSdk(): Promise<Sdk> {
  const url = new URL("./sdk-wasi.ts", import.meta.url).href;
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "wasi" ? { url, shortCircuit: true } : next(specifier, context),
  });
  Reflect.deleteProperty(WebAssembly, "promising");
  return await import("@extism/extism");
}

export class SdkInstance<C> {
  readonly #guest: Guest<C>;
  readonly #memory: SdkMemory;
  readonly #options: SdkInstanceOptions<C>;
  #plugin: Plugin | null = null;
  #returned: unknown;
  #firstBytes = 0;
  #calls = 0;
  #broken = false;

  constructor(options: SdkInstanceOptions<C>) {
    const { limits, log, logLevel } = options;
    this.#options = options;
    this.#memory = new SdkMemory(limits.kernelBytesMax);
    // Of a kernel a guest and the host functions use what SdkMemory has, and no more.
    const kernel = this.#memory as unknown as Kernel;
    this.#guest = new Guest({ kernel, limits, log, logLevel });
  }

  /** Instantiates and initialises; null when all went well. To be called once, before any call. */
  async start({ createPlugin }: Sdk, context: C): Promise<Outcome | null> {
    const guest = this.#guest;
    guest.beginCall(context);
    this.#memory.begin();
    try {
      const plugin = await createPlugin(
        { wasm: [{ module: this.#options.module }] },
        {
          useWasi: true,
          // Otherwise it would open /dev/null, twice, for our WASI, which has no files.
          enableWasiOutput: true,
          allowedPaths: { [WASI_GUEST]: guest } as Record<string, string>,
          functions: this.#imports(),
          memory: { maxPages: Math.ceil(guest.limits.kernelBytesMax / PAGE_BYTES) },
          logger: SILENT as Console,
        },
      );
      this.#plugin = plugin;
      this.#observe(await plugin.getInstance());
      if (this.#memory.hasError) {
        throw new Halt("guest_error", this.#memory.error(ERROR_BYTES_MAX));
      }
      guest.ready = true;
      return null;
    } catch (error) {
      const { code, detail } = this.#classify(error);
      return failed(code, `initialisation: ${detail}`);
    } finally {
      guest.endCall();
    }
  }

  /** Calls an export; `name` must be one the module has. */
  async call(name: string, input: string | null, context: C): Promise<Outcome> {
    const guest = this.#guest;
    const { kernelBytesMax } = guest.limits;
    if (this.#plugin === null) throw new Error("the instance was not started");
    if (input !== null && Buffer.byteLength(input) > kernelBytesMax) {
      const allowed = `the kernel memory of ${kernelBytesMax} bytes`;
      return failed("kernel_memory", `the input does not fit ${allowed}`);
    }
    this.#calls += 1;
    this.#returned = undefined;
    this.#memory.begin();
    guest.beginCall(context);
    try {
      await this.#plugin.call(name, input ?? undefined);
      return this.#outcome();
    } catch (error) {
      this.#broken = true;
      const { code, detail } = this.#classify(error);
      return failed(code, detail);
    } finally {
      guest.endCall();
    }
  }

  /** True when it may serve another call. */
  get reusable(): boolean {
    if (this.#broken || this.#calls >= this.#guest.limits.callsPerInstanceMax) return false;
    const bytes = this.#guest.memory?.buffer.byteLength ?? 0;
    return bytes <= this.#firstBytes * 2;
  }

  // The SDK drops what an export returns, and it looks exports up by name at each call: this is where
  // the value can be seen.
  #observe(instance: WebAssembly.Instance): void {
    const { exports } = instance;
    const observed: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(exports)) {
      const call = value as () => unknown;
      observed[name] = typeof value === "function" ? () => (this.#returned = call()) : value;
    }
    Object.defineProperty(instance, "exports", { value: observed });
    const { memory, __wasm_call_ctors: constructors } = exports;
    if (memory instanceof WebAssembly.Memory) {
      this.#guest.memory = memory;
      this.#firstBytes = memory.buffer.byteLength;
    }
    // Of a module's starts the SDK knows all but this one.
    const isStarted = ["hs_init", "_initialize", "_start"].some((name) => name in exports);
    if (typeof constructors === "function" && !isStarted) constructors();
  }

  #outcome(): Outcome {
    const memory = this.#memory;
    if (memory.hasError) return failed("guest_error", memory.error(ERROR_BYTES_MAX));
    if (this.#returned !== undefined && this.#returned !== 0) {
      return failed("guest_error", `the guest returned ${String(this.#returned)}`);
    }
    const { output } = memory;
    const allowed = this.#guest.limits.outputBytesMax;
    if (output.length > allowed) {
      const found = output.length;
      return failed("bad_output", `the output is ${found} bytes long; ${allowed} are allowed`);
    }
    // A copy: what is sent to another thread takes all of its memory along.
    const copy = output.length === 0 ? null : new Uint8Array(output);
    return { kind: "ok", output: copy, returnCode: 0 };
  }

  #imports(): Imports {
    const memory = this.#memory;
    const { hostFunctions, state } = this.#options;
    // Sandbox functions know nothing of the context, and a guest of any context will do.
    const guest = this.#guest as unknown as Guest<never>;
    const env: Imports[string] = { ...memory.imports };
    for (const name of HOST_IMPORTS.keys()) {
      env[name] = memory.bind(bindHostCall(name, guest, state) as AnyFunction);
    }
    const user: Imports[string] = {};
    for (const [name, host] of hostFunctions) {
      user[name] = memory.bind(bindUser(name, host, this.#guest));
    }
    const abort = memory.bind(bindAbort(guest) as AnyFunction);
    return { [EXTISM_ENV]: env, [EXTISM_USER]: user, [ASSEMBLYSCRIPT]: { abort } };
  }

  #classify(error: unknown): { code: CallErrorCode; detail: string } {
    if (error instanceof Halt) return error;
    if (isStackOverflow(error)) {
      return { code: "stack", detail: "the guest used up the call stack" };
    }
    const detail = error instanceof Error ? error.message : String(error);
    // The SDK's memory functions throw the latter two at an access out of bounds.
    const isTrap =
      error instanceof WebAssembly.RuntimeError ||
      error instanceof RangeError ||
      error instanceof TypeError;
    if (!isTrap) return { code: "host_error", detail };
    const { failedAllocs } = this.#memory;
    if (failedAllocs === 0) return { code: "trap", detail };
    const why = `${detail} after ${failedAllocs} failed allocations of kernel memory`;
    return { code: "kernel_memory", detail: why };
  }
}

// What the SDK itself has to say is said by our outcomes.
const SILENT: Pick<Console, "trace" | "debug" | "info" | "warn" | "error" | "log"> = {
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  log: () => {},
};
