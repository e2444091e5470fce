// What differs between two configurations: lists of named things are compared by name, so that one
// more route is one line and not a shift of all that follow.

import { styleText } from "node:util";
import type { DiffLine } from "./fault.ts";
import { pointer } from "./fault-list.ts";
import type { Config } from "./schema.ts";
import { maskSecrets } from "./secrets.ts";
import { rangeKey } from "./version-range.ts";
import type { Resolution } from "./version-range.ts";

/** Differences from `a` to `b`; literal secrets are masked, but a changed one is still a change. */
export function diffConfigs(a: Config, b: Config): DiffLine[] {
  const lines: DiffLine[] = [];
  compare({ real: a, shown: maskSecrets(a) }, { real: b, shown: maskSecrets(b) }, "", lines);
  return lines;
}

/** A configuration and what its ranges came to. */
export type Resolved = { readonly config: Config; readonly resolution: Resolution };

/** Differences of two configurations and of what their ranges came to. */
export function diffResolved(a: Resolved, b: Resolved): DiffLine[] {
  return [...diffConfigs(a.config, b.config), ...movedRanges(a, b)];
}

// A range that somebody wrote anew is a line of the configuration already.
function movedRanges(a: Resolved, b: Resolved): DiffLine[] {
  const moved = new Set(
    Object.keys(b.resolution).filter((key) => a.resolution[key] !== b.resolution[key]),
  );
  if (moved.size === 0) return [];
  const before = new Map((a.config.routes ?? []).map((route) => [route.name, route]));
  const lines: DiffLine[] = [];
  for (const { name, plugins = [] } of b.config.routes ?? []) {
    for (const [i, { plugin, version = "" }] of plugins.entries()) {
      const key = rangeKey(plugin, version);
      const isOld = before
        .get(name)
        ?.plugins?.some((each) => each.plugin === plugin && each.version === version);
      if (!moved.has(key) || isOld !== true) continue;
      const path = pointer(pointer(pointer("/routes", name), "plugins"), i);
      const [from, to] = [a.resolution[key], b.resolution[key]];
      lines.push({ op: "change", path: `${path}/version`, from, to, range: version });
    }
  }
  return lines;
}

/** One line each: `+` added, `-` removed, `~` changed. */
export function formatDiff(
  lines: readonly DiffLine[],
  options: { readonly color: boolean },
): string {
  const paint = (style: "green" | "red" | "yellow", text: string) =>
    options.color ? styleText(style, text, { validateStream: false }) : text;
  return lines
    .map(({ op, path, from, to, range }) => {
      if (op === "add") return `${paint("green", `+ ${path}: ${JSON.stringify(to)}`)}\n`;
      if (op === "remove") return `${paint("red", `- ${path}: ${JSON.stringify(from)}`)}\n`;
      if (range !== undefined) {
        return `${paint("yellow", `~ ${path}: ${range} (${from ?? "none"} -> ${to})`)}\n`;
      }
      return `${paint("yellow", `~ ${path}: ${JSON.stringify(from)} -> ${JSON.stringify(to)}`)}\n`;
    })
    .join("");
}

/** A value as it is compared, and as it may be shown. */
type Side = { readonly real: unknown; readonly shown: unknown };

function compare(a: Side, b: Side, path: string, lines: DiffLine[]): void {
  if (a.real === b.real) return;
  if (a.real === undefined) lines.push({ op: "add", path, to: b.shown });
  else if (b.real === undefined) lines.push({ op: "remove", path, from: a.shown });
  else if (isNamedList(a.real) && isNamedList(b.real)) compareNamed(a, b, path, lines);
  else if (isMap(a.real) && isMap(b.real)) compareMaps(a, b, path, lines);
  else if (isAlignedList(a.real, b.real)) compareItems(a, b, path, lines);
  else if (!isEqual(a.real, b.real)) {
    lines.push({ op: "change", path, from: a.shown, to: b.shown });
  }
}

function compareMaps(a: Side, b: Side, path: string, lines: DiffLine[]): void {
  const keys = new Set([...Object.keys(a.real as object), ...Object.keys(b.real as object)]);
  for (const key of keys) compare(child(a, key), child(b, key), pointer(path, key), lines);
}

function compareNamed(a: Side, b: Side, path: string, lines: DiffLine[]): void {
  const before = byName(a);
  const after = byName(b);
  for (const [name, side] of before) {
    // Most of what is compared is equal: seen at once, without paths and shown copies.
    if (isEqual(side.real, after.get(name)?.real)) continue;
    compare(
      side,
      after.get(name) ?? { real: undefined, shown: undefined },
      pointer(path, name),
      lines,
    );
  }
  for (const [name, side] of after) {
    if (!before.has(name)) lines.push({ op: "add", path: pointer(path, name), to: side.shown });
  }
  const kept = [...before.keys()].filter((name) => after.has(name));
  const keptAfter = [...after.keys()].filter((name) => before.has(name));
  // Order decides between routes that are otherwise equal.
  const first = kept.findIndex((name, i) => name !== keptAfter[i]);
  if (first === -1) return;
  const last = kept.findLastIndex((name, i) => name !== keptAfter[i]);
  const from = kept.slice(first, last + 1);
  lines.push({ op: "change", path: `${path} (order)`, from, to: keptAfter.slice(first, last + 1) });
}

function compareItems(a: Side, b: Side, path: string, lines: DiffLine[]): void {
  (a.real as readonly unknown[]).forEach((_, i) => {
    compare(child(a, String(i)), child(b, String(i)), pointer(path, i), lines);
  });
}

function byName({ real, shown }: Side): Map<string, Side> {
  const shownList = shown as readonly unknown[];
  return new Map(
    (real as readonly { name: string }[]).map((item, i) => [
      item.name,
      { real: item, shown: shownList[i] },
    ]),
  );
}

function child({ real, shown }: Side, key: string): Side {
  return { real: own(real, key), shown: own(shown, key) };
}

function own(value: unknown, key: string): unknown {
  return Object.hasOwn(value as object, key)
    ? (value as Readonly<Record<string, unknown>>)[key]
    : undefined;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Names need not be unique everywhere: two tests of a route may look at one header.
function isNamedList(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  const names = new Set(
    value.map((item) => (isMap(item) ? (item as { name?: unknown }).name : null)),
  );
  return names.size === value.length && [...names].every((name) => typeof name === "string");
}

// Maps at the same places, as a route's plugins are: what changed is within one of them.
function isAlignedList(a: unknown, b: unknown): boolean {
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
  return a.every((item, i) => isMap(item) && isMap(b[i]) && item.plugin === b[i].plugin);
}

function isEqual(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, i) => isEqual(item, b[i]));
  }
  if (!isMap(a) || !isMap(b)) return false;
  const keys = Object.keys(a as object);
  return (
    keys.length === Object.keys(b as object).length &&
    keys.every((key) => isEqual(own(a, key), own(b, key)))
  );
}
