// The words of `sallyport rollout`, and how the values of its flags are written.

import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { CliError } from "./output.ts";
import { Words, addGroup } from "./words.ts";
import type { OptionFacts } from "./words.ts";

/** What a caller is known by, as the admin API takes it. */
export type StickyFlag = { readonly by: string; readonly name?: string };

/** What is left out has a default of the admin API. */
export type StartFlags = {
  readonly candidate?: string;
  readonly mode?: string;
  readonly steps?: readonly number[];
  /** In milliseconds. */
  readonly interval?: number;
  readonly sticky?: StickyFlag;
  readonly minRequests?: number;
  readonly errorRateMax?: number;
  readonly denyRateDeltaMax?: number;
  readonly p99RatioMax?: number;
  readonly upstreamErrorRateDeltaMax?: number;
  readonly replayMax?: number;
  readonly wait?: boolean;
};

const THRESHOLDS: readonly OptionFacts[] = (
  [
    ["min-requests <n>", "calls of each version before it is judged (100)"],
    ["error-rate-max <share>", "failed calls above the stable version's (0.01)"],
    ["deny-rate-delta-max <share>", "denials above or below its (0.05; shadow: 1)"],
    ["p99-ratio-max <times>", "times its p99 (3)"],
    ["upstream-error-rate-delta-max <share>", "errors of the upstream above its (0.05)"],
  ] as const
).map(([flag, what]) => ({ flags: `--${flag}`, what, parse: numberOf }));
const PLACE = ["<route>", "<plugin>"];
const load = async () => await import("./commands/rollout.ts");

/** Adds the group to the program. */
export function addRollout(program: Command, finish: (code: number) => void): void {
  const group = addGroup(program, "rollout", "Rolls out a plugin's next version");
  const words = new Words(group, finish);
  words.add<StartFlags>(
    {
      name: "start",
      what: "Gives a stored version to a share of the callers, or to the shadow",
      example: "rollout start orders authz --candidate 1.1.0 --wait",
      args: PLACE,
      options: [
        { flags: "--candidate <version>", what: "a stored version (the only newer one)" },
        { flags: "--mode <mode>", what: "canary, or shadow: it decides nothing (canary)" },
        { flags: "--steps <percents>", what: "of the callers (5,25,50,100)", parse: stepsOf },
        {
          flags: "--interval <time>",
          what: "how long a step lasts: 500ms, 30s, 5m, 1h (60s)",
          parse: durationMs,
        },
        {
          flags: "--sticky <by>",
          what: "tells callers apart: ip, consumer, header:X, cookie:X (ip)",
          parse: stickyOf,
        },
        ...THRESHOLDS,
        {
          flags: "--replay-max <share>",
          what: "first replays what was recorded; refused if more differs",
          parse: numberOf,
        },
        { flags: "--wait", what: "goes on until promoted (0) or aborted (1)" },
      ],
      isRemote: true,
    },
    async ({ args: [route, plugin], options, client, output }) =>
      await (await load()).startCommand({ route, plugin }, options, await client(), output),
  );
  addLooking(words);
  addActing(words);
}

function addLooking(words: Words): void {
  words.add<{ readonly watch?: boolean }>(
    {
      name: "status",
      what: "Shows all rollouts, or one with the numbers of both versions",
      example: "rollout status orders authz --watch",
      args: ["[route]", "[plugin]"],
      options: [{ flags: "--watch", what: "goes on until promoted (0) or aborted (1)" }],
      isRemote: true,
    },
    async ({ args: [route, plugin], options: { watch = false }, client, output }) => {
      const { followCommand, listCommand, showCommand } = await load();
      if (route === undefined && !watch) return await listCommand(await client(), output);
      if (plugin === undefined) {
        throw new CliError(`say which: sallyport rollout status ${route ?? "ROUTE"} PLUGIN`);
      }
      const command = watch ? followCommand : showCommand;
      return await command({ route, plugin }, await client(), output);
    },
  );
  words.add<{ readonly last: number }>(
    {
      name: "diffs",
      what: "Shows decisions that a shadow would have taken differently",
      example: "rollout diffs orders authz --last 5",
      args: PLACE,
      options: [
        { flags: "--last <n>", what: "how many, the latest last", parse: countOf, fallback: 10 },
      ],
      isRemote: true,
    },
    async ({ args: [route, plugin], options: { last }, client, output }) =>
      await (await load()).diffsCommand({ route, plugin }, last, await client(), output),
  );
}

function addActing(words: Words): void {
  words.add<{ readonly next?: boolean }>(
    {
      name: "promote",
      what: "Gives the candidate all callers, without waiting",
      example: "rollout promote orders authz --next",
      args: PLACE,
      options: [{ flags: "--next", what: "only those of the next step; all after the last" }],
      isRemote: true,
    },
    async ({ args: [route, plugin], options: { next = false }, client, output }) => {
      const action = { name: "promote", body: { to: next ? "next" : "full" } };
      return await (await load()).actCommand({ route, plugin }, action, await client(), output);
    },
  );
  for (const [name, what] of [
    ["pause", "Keeps the share as it is; a bad candidate is taken back still"],
    ["resume", "Lets a paused rollout go on"],
    ["abort", "Gives all callers back to the stable version, at once"],
  ] as const) {
    const example = `rollout ${name} orders authz`;
    words.add(
      { name, what, example, args: PLACE, isRemote: true },
      async ({ args: [route, plugin], client, output }) =>
        await (await load()).actCommand({ route, plugin }, { name }, await client(), output),
    );
  }
}

const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/** Milliseconds of a text like 500ms, 30s, 5m or 1h. */
export function durationMs(text: string): number {
  const [, count, unit] = /^(\d{1,9})(ms|s|m|h)$/.exec(text) ?? [];
  const unitMs = UNITS_MS.get(unit);
  if (unitMs === undefined) throw new InvalidArgumentError("a time like 500ms, 30s, 5m or 1h.");
  return Number(count) * unitMs;
}

/** Percentages, rising. */
export function stepsOf(text: string): readonly number[] {
  const steps = text.split(",").map((each) => each.trim());
  const isRising = steps.every(
    (step, i) => isNumber(step) && Number(step) > Number(steps[i - 1] ?? 0),
  );
  if (isRising && Number(steps.at(-1)) <= 100) return steps.map(Number);
  throw new InvalidArgumentError("rising percentages like 5,25,50,100.");
}

/** What callers are told apart by. */
export function stickyOf(text: string): StickyFlag {
  const [, by, name] = /^(header|cookie):(.+)$/.exec(text) ?? [];
  if (by !== undefined) return { by, name };
  if (text === "ip" || text === "consumer") return { by: text };
  throw new InvalidArgumentError("ip, consumer, header:NAME or cookie:NAME.");
}

function numberOf(text: string): number {
  if (!isNumber(text)) throw new InvalidArgumentError("a number like 100 or 0.01.");
  return Number(text);
}

function countOf(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("a number from 1 to 9999.");
  return Number(text);
}

function isNumber(text: string): boolean {
  return /^\d{1,9}(\.\d{1,9})?$/.test(text);
}
