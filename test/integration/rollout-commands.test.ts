// Rollouts from the command line, over a gateway with callers: what is started, followed, steered and undone
// by commands, and what its metrics say of it. Every undo that is printed is run as it is printed.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { startCallers } from "../support/callers.ts";
import { runCommand, spawnCommand, startGateway } from "../support/gateway.ts";
import type { RunningGateway } from "../support/gateway.ts";
import {
  CANDIDATE,
  STABLE,
  auditOf,
  guarded,
  store,
  untilRollout,
} from "../support/rollout-gateway.ts";
import { rolloutPlugin } from "../support/rollout-plugin.ts";

const WAIT_MS = 20_000;
const STABLE_MODULE = rolloutPlugin({ mark: "stable" });
const QUICK = ["--interval", "200ms", "--min-requests", "5", "--p99-ratio-max", "1000"];
const BY_USER = ["--sticky", "header:X-User"];

/** A gateway with a guard, its candidate in store if there is one, and the command line beside it. */
async function place(t: TestContext, candidate?: Uint8Array) {
  const gateway = await startGateway(t, {
    plugins: { guard: STABLE_MODULE },
    config: { listeners: [{ name: "http", address: "127.0.0.1:0" }], routes: [guarded()] },
  });
  if (candidate !== undefined) await store(gateway, CANDIDATE, candidate);
  const own = { cwd: gateway.folder, env: { SALLYPORT_ADMIN: gateway.adminUrl } };
  return {
    gateway,
    run: (...args: string[]) => runCommand(t, args, own),
    spawn: (...args: string[]) => spawnCommand(t, args, own),
  };
}

/** Requests of many users, until the test ends. */
function call(t: TestContext, gateway: RunningGateway, path?: string): void {
  const request = (index: number) => ({ headers: `x-user: user${index % 500}\r\n`, path });
  startCallers(t, { port: gateway.port(), request, onAnswer: () => {} }, 300);
}

/** Which version answers. */
async function served({ port }: RunningGateway): Promise<string | null> {
  return (await fetch(`http://127.0.0.1:${port()}/`)).headers.get("x-version");
}

/** The command after "undo: sallyport". */
function undoOf(stdout: string): string[] {
  const undo = /^undo: sallyport (.+)$/m.exec(stdout)?.[1];
  assert.ok(undo, stdout);
  return undo.split(" ");
}

test("a version is held, started, stepped on, paused, promoted and rolled back by five commands", async (t) => {
  const { gateway, run } = await place(t);
  const file = join(gateway.folder, "next.wasm");
  writeFileSync(file, rolloutPlugin({ mark: "candidate" }));
  const held = await run("plugin", "push", file, "--name", "guard", "--as", "1.1.0", "--hold");
  assert.equal(held.code, 0, held.stderr);
  assert.match(held.stdout, /^guard@1\.1\.0 stored in [\d.]+ ms\n/);
  const start = /^roll it out: sallyport (rollout start all guard --candidate 1\.1\.0)$/m;
  assert.match(held.stdout, start);
  assert.equal(await served(gateway), "stable");
  assert.equal((await run("rollout", "status")).stdout, "no rollouts\n");

  // Without --candidate: there is one newer version.
  const started = await run("rollout", "start", "all", "guard", "--interval", "1h");
  assert.equal(started.code, 0, started.stderr);
  assert.match(
    started.stdout,
    /^guard on all: canary of 1\.1\.0 running, 0 % -> 5 % of the callers\nrevision 1, took [\d.]+ ms\nundo: sallyport rollout abort all guard\n$/,
  );
  const next = await run("rollout", "promote", "all", "guard", "--next");
  assert.match(next.stdout, /running, 5 % -> 25 % of the callers/);
  assert.match((await run("status")).stdout, /^rollouts 1 under way: guard on all 25 %$/m);

  const paused = await run("rollout", "pause", "all", "guard");
  assert.match(paused.stdout, /paused, 25 % of the callers/);
  const still = await run("rollout", "status", "all", "guard");
  assert.match(still.stdout, /^waits for resume, promote or abort$/m);
  assert.match((await run("status")).stdout, /guard on all 25 % \(paused\)/);
  assert.match((await run(...undoOf(paused.stdout))).stdout, /running, 25 % of the callers/);
  const list = await run("rollout", "status");
  assert.match(list.stdout, /^all +guard +canary +running +2\/4 +25 % +1\.0\.0 +1\.1\.0 +the end/m);
  const shown = await run("rollout", "status", "all", "guard");
  assert.match(shown.stdout, /^guard on all: canary 1\.0\.0 -> 1\.1\.0, running$/m);
  assert.match(shown.stdout, /^step 2 of 4, 25 % of the callers, told apart by ip$/m);
  assert.match(shown.stdout, /^waits for the end of the interval, (1 h 0|59) min.* left$/m);
  assert.match(shown.stdout, / paused +25 % {2}by admin$/m);

  const promoted = await run("rollout", "promote", "all", "guard");
  assert.match(promoted.stdout, /canary of 1\.1\.0 promoted, 25 % -> 100 % of the callers/);
  assert.equal(await served(gateway), "candidate");
  assert.equal((await run("status")).stdout.includes("rollouts"), false);
  const back = await run(...undoOf(promoted.stdout));
  assert.match(
    back.stdout,
    /^guard 1\.1\.0 -> 1\.0\.0 \([\d.]+ ms\)\nundo: sallyport plugin rollback/,
  );
  assert.equal(await served(gateway), "stable");
});

test("start --wait goes on until it is promoted, and says each step once", async (t) => {
  const { gateway, run } = await place(t, rolloutPlugin({ mark: "candidate" }));
  call(t, gateway);
  const args = ["rollout", "start", "all", "guard", ...QUICK, ...BY_USER, "--steps", "50,100"];
  const done = await run(...args, "--wait");
  assert.equal(done.code, 0, done.stdout + done.stderr);
  const events = [...done.stdout.matchAll(/^\S+Z {2}(\w+) +(\d+) % {2}by (\w+)/gm)];
  assert.deepEqual(
    events.map(([, ...event]) => event.join(" ")),
    ["started 50 admin", "step 100 gateway", "promoted 100 gateway"],
  );
  assert.equal(await served(gateway), "candidate");
  const over = await run("rollout", "status", "all", "guard");
  assert.match(over.stdout, /^last judged good, on \d+ calls of the stable version and \d+ of/m);
  assert.match(over.stdout, /^ {2}ok {3}calls failed: candidate 0\.00 %/m);
});

test("start --wait ends with 1 when the candidate is taken back, and the undo keeps the plan", async (t) => {
  const { gateway, run, spawn } = await place(
    t,
    rolloutPlugin({ mark: "bad", fails: { below: 100, text: "out of order" } }),
  );
  call(t, gateway);
  const args = ["rollout", "start", "all", "guard", ...QUICK, ...BY_USER, "--steps", "40,100"];
  const bad = await run(...args, "--wait");
  assert.equal(bad.code, 1, bad.stdout + bad.stderr);
  assert.match(bad.stdout, / aborted +0 % {2}by gateway: calls failed: candidate 100\.00 %/);
  assert.equal(await served(gateway), "stable");
  const watched = await run("rollout", "status", "all", "guard", "--watch", "--json");
  const end = JSON.parse(watched.stdout) as { state: string; numbers: { candidate: object } };
  assert.deepEqual([watched.code, end.state], [1, "aborted"]);
  const shown = await run("rollout", "status", "all", "guard");
  assert.match(shown.stdout, /^ {2}guest_error +0 +\d+$/m);
  assert.match(shown.stdout, /^ {2}BAD {2}calls failed: /m);

  // Nobody comes by as a user of this header: it stays until it is aborted by hand.
  const again = ["--interval", "1h", "--sticky", "header:x-none", "--steps", "0.5,1,30"];
  await run("rollout", "start", "all", "guard", "--error-rate-max", "0.5", ...again);
  await run("rollout", "promote", "all", "guard", "--next");
  const watching = spawn("rollout", "status", "all", "guard", "--watch");
  await watching.until(/ step +1 % {2}by admin/, WAIT_MS);
  const aborted = await run("rollout", "abort", "all", "guard");
  assert.match(aborted.stdout, /aborted, 1 % -> 0 % of the callers/);
  assert.equal(await watching.exited, 1);
  assert.match(watching.stdout(), / aborted +0 % {2}by admin: asked for\n$/);
  const undo = undoOf(aborted.stdout);
  assert.equal(
    undo.join(" "),
    "rollout start all guard --candidate 2.0.0 --steps 1,30 --interval 3600000ms --sticky header:x-none --error-rate-max 0.5",
  );
  assert.equal((await run(...undo)).code, 0);
  const { steps, interval_ms: ms, sticky, analysis } = await untilRollout(gateway, () => true);
  assert.deepEqual([steps, ms, sticky], [[1, 30], 3_600_000, { by: "header", name: "x-none" }]);
  assert.equal(analysis.error_rate_max, 0.5);
});

test("a last step below 100 % that is good waits for a person, and says so once", async (t) => {
  const { gateway, run } = await place(t, rolloutPlugin({ mark: "candidate" }));
  call(t, gateway);
  await run("rollout", "start", "all", "guard", ...QUICK, ...BY_USER, "--steps", "50");
  let before = await untilRollout(gateway, ({ events }) => events.at(-1).what === "passed");
  for (let interval = 0; interval < 2; interval += 1) {
    const { judged: known } = before;
    before = await untilRollout(gateway, ({ judged }) => !isDeepStrictEqual(judged, known));
  }
  const shown = await run("rollout", "status", "all", "guard");
  assert.match(shown.stdout, /^waits for promote or abort$/m);
  const next = await run("rollout", "promote", "all", "guard", "--next");
  assert.match(next.stdout, /promoted, 50 % -> 100 %/);
  const told = [...gateway.stderr().matchAll(/"message":"a rollout: (\w+)"/g)];
  assert.deepEqual(
    told.map(([, what]) => what),
    ["started", "passed", "promoted"],
  );
  assert.equal(auditOf(gateway).filter(({ what }) => what === "passed").length, 1);
});

test("a shadow's differences are told one by one, and its numbers are metrics", async (t) => {
  const { gateway, run } = await place(t, rolloutPlugin({ mark: "candidate", denies: 60 }));
  const started = await run("rollout", "start", "all", "guard", "--mode", "shadow");
  assert.match(started.stdout, /^guard on all: shadow of 2\.0\.0 running, it decides nothing$/m);
  assert.match(
    (await run("rollout", "diffs", "all", "guard")).stdout,
    /^0 decisions compared, none differs\n$/,
  );
  for (const path of ["/first", "/last?token=mine&page=2"]) {
    await fetch(`http://127.0.0.1:${gateway.port()}${path}`, { headers: { cookie: "mine" } });
  }
  await untilRollout(gateway, ({ shadow }) => shadow.different === 4 || shadow.different === 2);
  const diffs = await run("rollout", "diffs", "all", "guard", "--last", "9");
  assert.match(
    diffs.stdout,
    /decisions differ between 1\.0\.0 \(stable\) and 2\.0\.0 \(candidate\)/,
  );
  assert.match(
    diffs.stdout,
    /GET 127\.0\.0\.1(:\d+)?\/first from 127\.0\.0\.1 \(all, on_request, /,
  );
  assert.match(diffs.stdout, /^ {2}differs {4}action$/m);
  assert.match(diffs.stdout, /^ {2}candidate {2}respond 403; "no luck"/m);
  assert.equal(diffs.stdout.includes("mine"), false);
  const last = await run("rollout", "diffs", "all", "guard", "--last", "1", "--json");
  assert.equal((JSON.parse(last.stdout) as unknown[]).length, 1);
  const shown = await run("rollout", "status", "all", "guard");
  assert.match(shown.stdout, /^decisions: \d+ same, [24] different, 0 incomparable, 0 skipped$/m);
  assert.match(shown.stdout, /^see them: sallyport rollout diffs all guard$/m);

  const { text } = await gateway.admin("GET", "/metrics");
  const where = 'route="all",plugin="guard"';
  const versions = `${where},stable="1.0.0",candidate="2.0.0",mode="shadow"`;
  for (const sample of [
    `sallyport_rollout_weight_percent{${versions}} 0`,
    `sallyport_rollout_state{${versions},state="running"} 1`,
    `sallyport_rollout_state{${versions},state="aborted"} 0`,
    `sallyport_rollout_denied_total{${where},version="2.0.0",arm="candidate"} 2`,
    `sallyport_rollout_denied_total{${where},version="1.0.0",arm="stable"} 0`,
    `sallyport_rollout_shadow_total{${where},candidate="2.0.0",outcome="skipped"} 0`,
  ]) {
    assert.ok(text.includes(`${sample}\n`), `${sample} in ${text}`);
  }
  assert.equal((await run("rollout", "abort", "all", "guard")).code, 0);
  assert.ok((await gateway.admin("GET", "/metrics")).text.includes('state="aborted"} 1'));
});

test("what cannot be meant is refused with the way out, and changes nothing", async (t) => {
  const { gateway, run } = await place(t);
  const file = join(gateway.folder, "guard.wasm");
  const start = ["rollout", "start", "all", "guard"];
  for (const [args, code, said] of [
    [start, 2, /guard has 0 versions newer than 1\.0\.0; store one: .*push FILE --hold/],
    [[...start, "--candidate", "9.0.0"], 1, /unknown_plugin: .*sallyport plugin push --hold/],
    [[...start, "--interval", "5"], 2, /a time like 500ms, 30s, 5m or 1h/],
    [[...start, "--steps", "50,5"], 2, /rising percentages like 5,25,50,100/],
    [[...start, "--sticky", "header"], 2, /ip, consumer, header:NAME or cookie:NAME/],
    [[...start, "--p99-ratio-max", "x"], 2, /a number like 100 or 0\.01/],
    [[...start, "--candidate", "1.0.1", "--mode", "dark"], 1, /mode is canary or shadow/],
    [["rollout", "status", "all"], 2, /say which: sallyport rollout status all PLUGIN/],
    [["rollout", "status", "--watch"], 2, /say which: sallyport rollout status ROUTE PLUGIN/],
    [["rollout", "abort", "all", "guard"], 1, /unknown_rollout: There is no rollout of guard/],
    [["rollout", "diffs", "all", "guard", "--last", "0"], 2, /a number from 1 to 9999/],
    [["plugin", "push", file, "--hold", "--attach", "all"], 2, /--hold stores a version for later/],
    [["plugin", "push", file, "--hold"], 2, /guard\.wasm has no manifest; .*--name NAME --as/],
  ] as const) {
    const { code: found, stdout, stderr } = await run(...args);
    assert.deepEqual([found, stdout], [code, ""], `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, said);
  }
  for (const version of ["1.0.1", CANDIDATE]) {
    await store(gateway, version, rolloutPlugin({ mark: version }));
  }
  const doubt = await run(...start);
  assert.match(doubt.stderr, /has 2 versions newer .* which of 2\.0\.0, 1\.0\.1: --candidate/);
  const none = await gateway.admin("GET", "/admin/rollouts");
  assert.deepEqual([none.body, await served(gateway)], [[], "stable"]);
  // A module that is stored already stays what it is.
  const known = await run("plugin", "push", file, "--hold", "--name", "guard", "--as", STABLE);
  assert.match(known.stdout, /^guard@1\.0\.0 known already in .*\nit is current already/);
});

test("help of rollouts fits on a screen, and completion knows their words", async (t) => {
  for (const word of [[], ["start"], ["status"], ["diffs"], ["promote"], ["pause"], ["abort"]]) {
    const { code, stdout } = await runCommand(t, ["rollout", ...word, "--help"]);
    assert.equal(code, 0);
    assert.ok(stdout.trimEnd().split("\n").length <= 25, `${word.join(" ")} --help is too long`);
    assert.match(stdout, /Exit codes: 0 done, 1 no/);
  }
  const { stdout } = await runCommand(t, ["completion", "bash"]);
  const words = (path: string) => new RegExp(`"${path}"\\) words="([^"]*)"`).exec(stdout)?.[1];
  assert.match(words("rollout") ?? "", /start status diffs promote pause resume abort/);
  assert.match(words("rollout start") ?? "", /--candidate .*--wait/);
  assert.match(words("plugin push") ?? "", /--hold/);
});
