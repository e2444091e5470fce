// What plugins keep beyond a request: values end with their time, numbers keep the end they began with,
// and a full room loses what was not touched for longest. The clock is the test's.

import assert from "node:assert/strict";
import { test } from "node:test";
import { KvRoom, KvStore } from "../../../gateway/cluster/kv-store.ts";

test("a value ends with its time, and one without stays", () => {
  const room = new KvRoom();
  room.set("a", "1", 100, 1_000);
  room.set("b", "2", 0, 1_000);
  assert.equal(room.get("a", 1_099), "1");
  assert.equal(room.get("a", 1_100), null);
  assert.equal(room.size, 1, "what has ended takes no room");
  assert.equal(room.get("b", 1e15), "2");
});

test("a number begins at 0, and adding to it does not prolong it", () => {
  const room = new KvRoom();
  assert.equal(room.increment("n", 5, 100, 0), 5);
  assert.equal(room.increment("n", -2, 1_000, 99), 3);
  assert.equal(room.increment("n", 1, 100, 100), 1, "its time was over");
});

test("what is no number is not added to, and no sum leaves the safe integers", () => {
  const room = new KvRoom();
  room.set("text", "seven", 0, 0);
  assert.equal(room.increment("text", 1, 0, 0), null);
  assert.equal(room.get("text", 0), "seven");
  room.set("most", String(Number.MAX_SAFE_INTEGER), 0, 0);
  assert.equal(room.increment("most", 1, 0, 0), null);
});

test("a room full of entries loses the one that was not touched for longest", () => {
  const room = new KvRoom({ entriesMax: 3, bytesMax: 1e6 });
  for (const key of ["a", "b", "c"]) room.set(key, key, 0, 0);
  room.get("a", 0);
  room.set("d", "d", 0, 0);
  assert.equal(room.get("b", 0), null);
  assert.deepEqual(
    ["a", "c", "d"].map((key) => room.get(key, 0)),
    ["a", "c", "d"],
  );
});

test("a room full of bytes loses old values until the new one fits", () => {
  const room = new KvRoom({ entriesMax: 100, bytesMax: 5_000 });
  for (let i = 0; i < 50; i++) room.set(`k${i}`, "x".repeat(500), 0, 0);
  assert.ok(room.size >= 1 && room.size <= 4, `${room.size} values`);
  assert.equal(room.get("k49", 0), "x".repeat(500));
  for (let i = 0; i < 1_000; i++) room.set("k49", "y", 0, 0);
  assert.ok(room.size > 1, "a value that is replaced gives back its bytes");
});

test("plugins do not see each other's values, nor those of one that is gone", () => {
  const store = new KvStore(() => 0);
  store.answer({ plugin: "a", op: "set", key: "k", value: "1", ttlMs: 0 });
  assert.equal(store.answer({ plugin: "b", op: "get", key: "k" }), null);
  assert.equal(store.answer({ plugin: "a", op: "get", key: "k" }), "1");
  store.forget("a");
  assert.equal(store.answer({ plugin: "a", op: "get", key: "k" }), null);
});
