// sallyport plugin call: one export of any Extism module, under the limits that a gateway has.

import { readFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import type { Exchange } from "../../../gateway/exchange.ts";
import { HOST_FUNCTIONS } from "../../../gateway/plugins/abi.ts";
import type { CallContext } from "../../../gateway/plugins/abi.ts";
import { nearest } from "../../../gateway/config/nearest.ts";
import { Decision } from "../../../gateway/plugins/decision.ts";
import { NO_GRANTS } from "../../../gateway/plugins/grants.ts";
import { configTexts } from "../../../gateway/plugins/wasm.ts";
import { GuestPool, SandboxError } from "../../../sandbox/sandbox.ts";
import type { Outcome } from "../../../sandbox/sandbox.ts";
import { LIMITS, admit } from "../author/admit.ts";
import type { Admitted } from "../author/admit.ts";
import { decide, exchangeOf, readCase, tellDecision } from "../author/cases.ts";
import type { Decided } from "../author/cases.ts";
import { readModule, readSourceMap } from "../author/module-file.ts";
import { Observer } from "../author/observe.ts";
import { describeFailure, failureOf, failureText, usageOf } from "../author/run-cases.ts";
import type { Failure, Usage } from "../author/run-cases.ts";
import { readWasm } from "../author/wasm-file.ts";
import { CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";

export type CallOptions = {
  /** Text, or `@` and a file. */
  readonly input?: string;
  /** A JSON object. */
  readonly config?: string;
  /** A golden case, for the exports of the plugin interface. */
  readonly case?: string;
  readonly output: Output;
};

type Called = {
  readonly output: Uint8Array | null;
  readonly decision: Decided | null;
  readonly failure: Failure | null;
  readonly logs: readonly string[];
  readonly took_us: number;
  readonly usage: Usage;
};

type Loaded = Admitted & { readonly sourceMap: string | null };

/** Runs it; 1 when the module is refused or the call fails. */
export async function callCommand(
  file: string,
  name: string,
  options: CallOptions,
): Promise<number> {
  const loaded = await load(file, name);
  const called =
    options.case === undefined
      ? await callExport(loaded, name, await argumentsOf(options))
      : await callCase(loaded, options.case);
  const { failure, usage, output } = called;
  const text = output === null ? "" : Buffer.from(output).toString("utf8");
  const isText = output === null || Buffer.from(text).equals(output);
  const { output: print } = options;
  const facts = { ...called, ...usage, usage: undefined, ok: failure === null };
  const shown = isText
    ? { output: text }
    : { output_base64: Buffer.from(output).toString("base64") };
  print.result({ ...facts, output: undefined, ...shown }, () => {
    // The output alone goes to standard output, so that it can be piped.
    for (const line of linesOf(called)) print.note(line);
    return isText ? text : Buffer.from(output).toString("base64");
  });
  return failure === null ? EXIT.ok : EXIT.no;
}

async function load(file: string, name: string): Promise<Loaded> {
  const bytes = await readModule(file);
  const loaded = await admit(bytes, []).catch((error: unknown) => {
    if (!(error instanceof SandboxError)) throw error;
    throw new CliError(`${file} would be refused: ${error.code}: ${error.message}`, EXIT.no);
  });
  const functions = readWasm(bytes).exports.filter(({ kind }) => kind === "function");
  const found = functions.find((each) => each.name === name);
  if (found === undefined) {
    const names = functions.map((each) => each.name);
    const near = nearest(name, names);
    const hint = near === undefined ? "" : `; did you mean ${near}?`;
    throw new CliError(`${file} exports no function ${name}, but ${names.join(", ")}${hint}`);
  }
  if (!found.type.startsWith("() ->")) {
    throw new CliError(`${name} is ${found.type}; Extism calls functions without parameters`);
  }
  return { ...loaded, sourceMap: await readSourceMap(file) };
}

async function argumentsOf({ input, config = "{}" }: CallOptions) {
  let parsed: unknown;
  try {
    parsed = JSON.parse(config);
  } catch {
    parsed = null;
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new CliError(`--config is a JSON object such as '{"tier": "gold"}', not ${config}`);
  }
  const isFile = input?.startsWith("@") === true;
  const given = isFile ? await readInput(input.slice(1)) : (input ?? null);
  return { input: given, config: parsed as Readonly<Record<string, unknown>> };
}

async function readInput(file: string): Promise<Uint8Array> {
  return await readFile(file).catch((error: unknown) => {
    throw new CliError(
      `--input @${file} cannot be read: ${String((error as { code?: unknown }).code)}`,
    );
  });
}

// With an empty request at hand for a plugin's exports, so that host functions have what to answer.
async function callExport(
  loaded: Loaded,
  name: string,
  given: { input: string | Uint8Array | null; config: Readonly<Record<string, unknown>> },
): Promise<Called> {
  using observer = new Observer();
  const exchange = exchangeOf({});
  const context: CallContext = {
    exchange: name === "on_config" ? null : exchange,
    response: null,
    grants: NO_GRANTS,
    decision: new Decision(),
  };
  const logs: string[] = [];
  const pool = new GuestPool<CallContext>({
    module: loaded.module,
    limits: LIMITS,
    hostFunctions: HOST_FUNCTIONS,
    config: configTexts(given.config),
    isolation: "fresh",
    log: (level, line) => void logs.push(`${level}: ${line}`),
    observer,
  });
  // What compiles late is compiled before the time that counts.
  const started = pool.warm(context);
  const beganMs = performance.now();
  const outcome = started ?? (await run(pool, name, given.input, context));
  const tookUs = Math.round((performance.now() - beganMs) * 1000);
  pool.close();
  const isOk = outcome.kind === "ok";
  const decision =
    name === "on_request" && isOk ? applied(outcome, context.decision, exchange) : null;
  return {
    output: isOk ? outcome.output : null,
    decision,
    failure: isOk ? null : describeFailure(outcome, loaded, observer),
    logs,
    took_us: tookUs,
    usage: usageOf(observer),
  };
}

async function run(
  pool: GuestPool<CallContext>,
  name: string,
  input: string | Uint8Array | null,
  context: CallContext,
): Promise<Outcome> {
  return pool.suspends
    ? await pool.callLater(name, input, context)
    : pool.call(name, input, context);
}

function applied(outcome: Outcome & { kind: "ok" }, decision: Decision, exchange: Exchange) {
  const json = outcome.output === null ? null : Buffer.from(outcome.output).toString("utf8");
  const why = (json === null ? null : decision.takeJson(json)) ?? decision.requestFault();
  if (why !== null) return { action: "error", code: "PLUGIN_BAD_OUTPUT", message: why };
  return tellDecision(decision.applyToRequest(exchange), exchange);
}

async function callCase(loaded: Loaded, file: string): Promise<Called> {
  const golden = readCase(file);
  using observer = new Observer();
  const beganMs = performance.now();
  const decision = await decide({ ...loaded, observer }, golden);
  const tookUs = Math.round((performance.now() - beganMs) * 1000);
  return {
    output: null,
    decision,
    failure: failureOf(decision, loaded, observer),
    logs: (decision["logs"] ?? []) as string[],
    took_us: tookUs,
    usage: usageOf(observer),
  };
}

function linesOf({ failure, decision, logs, took_us: tookUs, usage }: Called): string[] {
  const lines = logs.map((line) => `log ${line}`);
  if (failure !== null) lines.push(...failureText(failure, usage));
  else if (decision !== null) lines.push(`decision ${JSON.stringify(decision)}`);
  const pages = usage.memory_pages ?? 0;
  const memory = `memory ${pages} of ${usage.memory_pages_max} pages`;
  return [...lines, `took ${tookUs} us, fuel ${usage.fuel}, ${memory}`];
}
