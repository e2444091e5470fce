// The bounds of the sandbox: what a module may be and what one call may use. Every one is a field
// of the configuration; these are the defaults.

/** No table may be larger, whatever is configured: the price of its operations relies on it. */
export const TABLE_ENTRIES_TOP = 2 ** 20;
/** No stack budget may be larger: V8's own stack must not end first. */
export const STACK_BYTES_TOP = 512 * 1024;

export type SandboxLimits = {
  /** The uploaded file. */
  readonly moduleBytesMax: number;
  /** The code section. */
  readonly codeBytesMax: number;
  /** Functions the module defines. */
  readonly functionsMax: number;
  /** One function body. */
  readonly functionBytesMax: number;
  /** Locals one function declares, parameters apart. */
  readonly localsMax: number;
  /** Guest memory in pages of 64 KiB: the largest initial size, and what growth stops at. */
  readonly memoryPagesMax: number;
  /** Entries of the one table: the largest initial size, and what growth stops at. */
  readonly tableEntriesMax: number;
  /** Kernel memory of one call: its input, output and every block between; at most 8 MiB. */
  readonly kernelBytesMax: number;
  /** The output of one call. */
  readonly outputBytesMax: number;
  /** Calls of host functions within one call, logging and WASI included. */
  readonly hostCallsMax: number;
  /** Calls of host functions that answer later, within one call. */
  readonly asyncCallsMax: number;
  /** What these may take in all, in milliseconds of the clock. */
  readonly asyncMsMax: number;
  /** Log lines of one call; the rest is dropped and counted in one more line. */
  readonly logLinesMax: number;
  /** One log line, in UTF-8; the rest of it is cut off. */
  readonly logLineBytesMax: number;
  /** The names and values of all plugin variables together. */
  readonly varBytesMax: number;
  /** Instances of one pool. */
  readonly poolMax: number;
  /** Calls after which an instance is replaced. */
  readonly callsPerInstanceMax: number;
  /** Stack of one call, by the sandbox's own measure of frames; at most 512 KiB. */
  readonly stackBytesMax: number;
  /** CPU time of the initialisation. */
  readonly initMsMax: number;
  /** CPU time of one call. */
  readonly cpuMsMax: number;
};

export const DEFAULT_SANDBOX_LIMITS: SandboxLimits = Object.freeze({
  moduleBytesMax: 4 * 1024 * 1024,
  codeBytesMax: 1024 * 1024,
  functionsMax: 10_000,
  functionBytesMax: 1024 * 1024,
  localsMax: 4_096,
  memoryPagesMax: 64,
  tableEntriesMax: 10_000,
  kernelBytesMax: 1024 * 1024,
  outputBytesMax: 64 * 1024,
  hostCallsMax: 256,
  asyncCallsMax: 4,
  asyncMsMax: 250,
  logLinesMax: 16,
  logLineBytesMax: 1_024,
  varBytesMax: 64 * 1024,
  poolMax: 64,
  callsPerInstanceMax: 10_000,
  stackBytesMax: 256 * 1024,
  initMsMax: 50,
  cpuMsMax: 5,
});
