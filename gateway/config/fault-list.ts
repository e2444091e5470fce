// The faults of one check while they are being collected: pointers into the configuration instead
// of lines, so that nothing is paid for places while there is nothing wrong. The number is bounded;
// a configuration with more than a thousand faults needs no longer list.

import type { Fault } from "./fault.ts";

const FAULTS_MAX = 1000;
const SHOWN_CHARS_MAX = 60;

/** What is shown of a value that may be a secret. */
export const HIDDEN = "(secret)";

/** A fault before its place in the text is known; `at` says which part of the place is meant. */
export type PlacedFault = Fault & { readonly at: "key" | "value" };

/** Collects faults, at most a thousand; one more is kept that says so. */
export class FaultList {
  readonly faults: PlacedFault[] = [];
  #isFull = false;

  get size(): number {
    return this.faults.length;
  }

  /** True once another fault would not be kept: a reason to stop looking. */
  get isFull(): boolean {
    return this.#isFull;
  }

  add(fault: PlacedFault): void {
    if (this.#isFull) return;
    if (this.faults.length < FAULTS_MAX) {
      this.faults.push(fault);
      return;
    }
    this.#isFull = true;
    const message = `there are more than ${FAULTS_MAX} faults; the others are not listed`;
    this.faults.push({ code: "too_many", message, path: "", at: "value" });
  }

  /** A value that the schema or a rule does not allow here. */
  outOfRange(path: string, value: unknown, allowed: string): void {
    const found = show(value);
    const message = `${found} is not allowed here: expected ${allowed}`;
    this.add({ code: "out_of_range", message, path, found, allowed, at: "value" });
  }

  /** Keys that contradict each other or do nothing together; `why` is the whole message. */
  conflict(path: string, why: string): void {
    this.add({ code: "conflict", message: why, path, at: "key" });
  }

  /** A choice of keys of which not exactly one is there. */
  notOneOf(path: string, names: readonly string[], given: readonly string[]): void {
    const found = given.join(", ") || "none";
    this.add({
      code: given.length === 0 ? "missing_key" : "conflict",
      message: `exactly one of ${names.join(", ")} is needed, found ${found}`,
      path,
      found,
      allowed: `one of ${names.join(", ")}`,
      at: "value",
    });
  }

  /** A key that another key makes necessary. */
  missing(path: string, key: string, why: string): void {
    this.add({ code: "missing_key", message: why, path, found: "none", allowed: key, at: "value" });
  }

  /** Something named or numbered twice; `first` is the pointer of the first one. */
  duplicate(path: string, what: string, first: string): void {
    const message = `${what} is used already at ${first}`;
    this.add({ code: "duplicate", message, path, found: what, at: "value" });
  }
}

/** The fault without what only helps to find its place. */
export function withoutPlace(fault: PlacedFault): Fault {
  const { at: _, ...plain } = fault;
  return plain;
}

/** A JSON pointer one step longer (RFC 6901). */
export function pointer(path: string, key: string | number): string {
  if (typeof key === "number") return `${path}/${key}`;
  const isPlain = !key.includes("~") && !key.includes("/");
  return `${path}/${isPlain ? key : key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** The steps of a JSON pointer. */
export function pointerSteps(path: string): string[] {
  const steps = path.split("/").slice(1);
  return steps.map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** A value as shown in a fault: short, on one line. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 1 ? "a list of 1" : `a list of ${value.length}`;
  if (typeof value === "object") return "a map";
  if (typeof value !== "string") return String(value);
  if (value.length <= SHOWN_CHARS_MAX) return JSON.stringify(value);
  return `${JSON.stringify(value.slice(0, SHOWN_CHARS_MAX))}...`;
}
