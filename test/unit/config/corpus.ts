// The golden configurations as material for other tests, and every place within a configuration,
// by JSON pointer. Nothing here knows what is right or wrong.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { readDocument } from "../../../gateway/config/document.ts";
import { pointer, pointerSteps } from "../../../gateway/config/fault-list.ts";

export type Container = Record<string, unknown> | unknown[];

/** A value within another, and its JSON pointer. */
export type Place = { readonly path: string; readonly value: unknown };

const FOLDER = path.resolve(import.meta.dirname, "../../golden/config");

/** Each configuration of the corpus: its file's name and its text. */
export function corpus(): [file: string, text: string][] {
  return fs
    .readdirSync(FOLDER)
    .filter((file) => !file.endsWith(".expected"))
    .map((file) => [file, fs.readFileSync(path.join(FOLDER, file), "utf8")]);
}

/** A fresh valid configuration that has nearly every key. */
export function fullConfig(): Record<string, unknown> {
  const document = readDocument(fs.readFileSync(path.join(FOLDER, "valid-full.yaml"), "utf8"));
  assert.ok("value" in document);
  return document.value as Record<string, unknown>;
}

/** Everything in a value, itself first. */
export function placesIn(value: unknown, at = ""): Place[] {
  const own: Place[] = [{ path: at, value }];
  if (typeof value !== "object" || value === null) return own;
  const isList = Array.isArray(value);
  return Object.entries(value).reduce<Place[]>((places, [key, child]) => {
    return places.concat(placesIn(child, pointer(at, isList ? Number(key) : key)));
  }, own);
}

/** True for a map that takes keys of any name: what an uploaded plugin is configured with. */
export function isFree(path: string): boolean {
  return path.startsWith("/routes/0/plugins/4/config");
}

/** True for a map whose keys are names of headers or claims. */
export function isRecord(path: string): boolean {
  return /\/(set|headers|claims_to_headers)$/.test(path) && !path.includes("/match/");
}

/** The value at a JSON pointer. */
export function valueAt(root: unknown, path: string): unknown {
  return pointerSteps(path).reduce((value, step) => (value as Record<string, unknown>)[step], root);
}

/** Sets an own key, whatever its name. */
export function define(map: object, key: string, value: unknown): void {
  Object.defineProperty(map, key, { value, enumerable: true, configurable: true, writable: true });
}

/** Replaces the value at a JSON pointer that is not the root's. */
export function replaceAt(root: unknown, path: string, value: unknown): void {
  const end = path.lastIndexOf("/");
  const [step] = pointerSteps(path.slice(end));
  define(valueAt(root, path.slice(0, end)) as object, step, value);
}
