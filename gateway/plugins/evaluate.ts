// Runs a version on a request that another version has decided about already, and tells what it says. No
// request waits for it, and nothing that it does is carried out: for shadows and for replays.

import { GuestPool, runDelayMs } from "../../sandbox/sandbox.ts";
import type { Manifest, SandboxLimits } from "../../sandbox/sandbox.ts";
import { HOST_FUNCTIONS } from "./abi.ts";
import type { CallContext } from "./abi.ts";
import { UNRECORDED, replayedGrants } from "./host-calls.ts";
import { jsonInput } from "./json-input.ts";
import { contextWith } from "./thread-context.ts";
import { configTexts, failureOf } from "./wasm.ts";
import type { Said, Witnessed } from "./witness.ts";

/** A call that is longer may have waited for a CPU. */
const SLOW_MS = 0.1;

/** A version as an attachment runs it; fit for structured clone. */
export type EvaluatorSetup = {
  /** Compiled from prepared bytes. */
  readonly module: WebAssembly.Module;
  readonly manifest: Manifest | null;
  readonly config: Readonly<Record<string, unknown>>;
  readonly limits: SandboxLimits;
  readonly isolation: "reuse" | "fresh";
  readonly granted: {
    readonly kv: boolean;
    readonly http: boolean;
    readonly body: number | null;
  };
};

/** What it said; "unknown" when it asked its host what nobody had asked before. */
export type Evaluated = {
  readonly said: Said | { readonly kind: "unknown"; readonly detail: string } | null;
  /** Without what the thread waited for a CPU. */
  readonly micros: number;
};

export class Evaluator {
  readonly #setup: EvaluatorSetup;
  readonly #pool: GuestPool<CallContext>;
  /** What the kernel had counted at the last look. */
  #delayMs = runDelayMs();

  /** Throws on a module that was not prepared with these host functions. */
  constructor(setup: EvaluatorSetup) {
    this.#setup = setup;
    const { module, limits, isolation } = setup;
    this.#pool = new GuestPool({
      module,
      limits,
      isolation,
      hostFunctions: HOST_FUNCTIONS,
      config: configTexts(setup.config),
      // Its lines would be told twice.
      log: () => {},
      isBackground: true,
    });
  }

  /** `said` is null when the version takes no part in that phase. Never rejects for what a guest does. */
  async evaluate({ phase, context: data, calls }: Witnessed): Promise<Evaluated> {
    if (!this.#pool.hasExport(phase)) return { said: null, micros: 0 };
    const context = contextWith(data, replayedGrants(this.#setup.granted, calls));
    const input = this.#input(context, data.request?.headers ?? new Map());
    const beganMs = performance.now();
    const outcome = this.#pool.suspends
      ? await this.#pool.callLater(phase, input, context)
      : this.#pool.call(phase, input, context);
    const micros = (performance.now() - beganMs - this.#waitedMs(beganMs)) * 1000;
    const failure = failureOf(outcome, context);
    if (failure === null) {
      return { said: { kind: "decided", decision: context.decision.data() }, micros };
    }
    // Of our own making: a guest's error may say the same.
    if (failure.fault === "host_error" && failure.detail.includes(UNRECORDED)) {
      return { said: { kind: "unknown", detail: failure.detail }, micros };
    }
    return { said: { kind: "failed", ...failure }, micros };
  }

  close(): void {
    this.#pool.close();
  }

  // Who gives way to everybody may wait for a CPU for longer than it runs. That shows in a call that took
  // long, and only then is the kernel asked: it costs more than most calls.
  #waitedMs(beganMs: number): number {
    const tookMs = performance.now() - beganMs;
    if (tookMs < SLOW_MS) return 0;
    const delayMs = runDelayMs();
    const waitedMs = delayMs - this.#delayMs;
    this.#delayMs = delayMs;
    return Math.min(Math.max(waitedMs, 0), tookMs);
  }

  #input({ exchange }: CallContext, headers: ReadonlyMap<string, string>): string | null {
    const { manifest, config, granted } = this.#setup;
    if (manifest?.input !== "json" || exchange === null) return null;
    return jsonInput(exchange, { headers, bodyBytesMax: granted.body, config });
  }
}
