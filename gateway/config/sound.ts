// What is left of a configuration when everything that does not fit the schema is taken out, so that
// the rules across fields can be checked too and every fault is said at once. A part that was taken
// out is still there as a key without a value: it is not missing, nothing is known about it.

import { pointerSteps } from "./fault-list.ts";
import type { PlacedFault } from "./fault-list.ts";

/** A configuration of which any part may be unknown. */
export type Sound<T> = T extends readonly (infer Item)[]
  ? readonly (Sound<Item> | undefined)[]
  : T extends object
    ? { readonly [Key in keyof T]?: Sound<T[Key]> }
    : T;

type Container = Record<string, unknown>;

/** A copy without what the faults are about; the value itself where there are none. */
export function takeOutFaults(value: unknown, faults: readonly PlacedFault[]): unknown {
  if (faults.length === 0) return value;
  const root: Container = { "": structuredClone(value) };
  for (const { code, path, suggestion } of faults) {
    // What lacks a key is otherwise as it should be.
    if (code === "missing_key") continue;
    const steps = pointerSteps(path);
    const last = steps.pop();
    const container = steps.reduce<unknown>(childOf, root[""]);
    if (last === undefined) root[""] = undefined;
    else if (Array.isArray(container)) container[Number(last)] = undefined;
    else if (isContainer(container)) {
      // A misspelt key was meant to be the other one, which so is not missing either.
      if (code === "unknown_key") delete container[last];
      const key = code === "unknown_key" ? suggestion : last;
      if (key !== undefined && (code !== "unknown_key" || !Object.hasOwn(container, key))) {
        container[key] = undefined;
      }
    }
  }
  return root[""];
}

/** True when the key is there, be its value known or not. */
export function isGiven(map: object | undefined, key: string): boolean {
  return map !== undefined && Object.hasOwn(map, key);
}

function childOf(container: unknown, step: string): unknown {
  if (Array.isArray(container)) return container[Number(step)];
  return isContainer(container) && Object.hasOwn(container, step) ? container[step] : undefined;
}

function isContainer(value: unknown): value is Container {
  return typeof value === "object" && value !== null;
}
