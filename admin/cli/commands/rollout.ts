// sallyport rollout ...: starts, shows, follows and steers rollouts. Everything is done at once and without
// a question; what was done says how it is undone.

import { setTimeout as wait } from "node:timers/promises";
import { gt } from "semver";
import type { AdminClient } from "../../client.ts";
import { CLEAR, CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";
import type { StartFlags } from "../words-rollout.ts";
import type { ShownDifference } from "./difference-text.ts";
import { changeText, diffsText, eventText, isOver, listText, rolloutText } from "./rollout-text.ts";
import type { ShownChange, ShownRollout } from "./rollout-text.ts";

const LOOK_MS = 1_000;

export type Place = { readonly route: string; readonly plugin: string };

/** Starts one; with `wait` goes on until it is over, and prints one JSON document, its end. */
export async function startCommand(
  at: Place,
  flags: StartFlags,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const candidate = flags.candidate ?? (await onlyNewer(at, client));
  const body = JSON.stringify({
    candidate,
    mode: flags.mode,
    steps: flags.steps,
    interval_ms: flags.interval,
    sticky: flags.sticky,
    replay: flags.replayMax === undefined ? undefined : { difference_rate_max: flags.replayMax },
    analysis: {
      min_requests: flags.minRequests,
      error_rate_max: flags.errorRateMax,
      deny_rate_delta_max: flags.denyRateDeltaMax,
      p99_ratio_max: flags.p99RatioMax,
      upstream_error_rate_delta_max: flags.upstreamErrorRateDeltaMax,
    },
  });
  const { body: change } = await client.call<ShownChange>("PUT", pathOf(at), { body });
  const isFollowed = flags.wait === true;
  if (!isFollowed || !output.isJson) output.result(change, () => changeText(change));
  return isFollowed ? await follow(change, client, output) : EXIT.ok;
}

export async function actCommand(
  at: Place,
  action: { readonly name: string; readonly body?: object },
  client: AdminClient,
  output: Output,
): Promise<number> {
  const sent = action.body === undefined ? {} : { body: JSON.stringify(action.body) };
  const path = `${pathOf(at)}/${action.name}`;
  const { body } = await client.call<ShownChange>("POST", path, sent);
  output.result(body, () => changeText(body));
  return EXIT.ok;
}

export async function listCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<readonly ShownRollout[]>("GET", "/admin/rollouts");
  output.result(body, () => listText(body));
  return EXIT.ok;
}

export async function showCommand(at: Place, client: AdminClient, output: Output): Promise<number> {
  const rollout = await look(at, client);
  output.result(rollout, () => rolloutText(rollout));
  return EXIT.ok;
}

export async function followCommand(
  at: Place,
  client: AdminClient,
  output: Output,
): Promise<number> {
  return await follow(await look(at, client), client, output);
}

export async function diffsCommand(
  at: Place,
  last: number,
  client: AdminClient,
  output: Output,
): Promise<number> {
  const path = `${pathOf(at)}/differences`;
  const { body } = await client.call<readonly ShownDifference[]>("GET", path);
  const rollout = await look(at, client);
  const shown = body.slice(-last);
  output.result(shown, () => diffsText(rollout, shown));
  return EXIT.ok;
}

// On a terminal the whole of it, again and again; anywhere else what happens, line by line; its end is all
// that JSON is made of.
async function follow(
  { id, ...at }: ShownRollout,
  client: AdminClient,
  output: Output,
): Promise<number> {
  let told: string | null = null;
  for (;;) {
    const rollout = await look(at, client);
    if (rollout.id !== id) throw new CliError("another rollout has taken its place", EXIT.no);
    const lines = rollout.events.map(eventText);
    if (output.isTerminal) output.print(`${CLEAR}${rolloutText(rollout)}`);
    else if (!output.isJson) for (const line of linesAfter(lines, told)) output.print(line);
    told = lines.at(-1) ?? null;
    if (isOver(rollout)) {
      if (output.isJson) output.result(rollout, () => "");
      else if (!output.isTerminal)
        output.note(`numbers: sallyport rollout status ${at.route} ${at.plugin}`);
      return rollout.state === "promoted" ? EXIT.ok : EXIT.no;
    }
    await wait(LOOK_MS);
  }
}

function linesAfter(lines: readonly string[], told: string | null): readonly string[] {
  return told === null ? lines : lines.slice(lines.lastIndexOf(told) + 1);
}

async function look(at: Place, client: AdminClient): Promise<ShownRollout> {
  return (await client.call<ShownRollout>("GET", pathOf(at))).body;
}

type Attached = readonly { readonly plugin: string; readonly resolved: string }[];
type Stored = { readonly current: string; readonly versions: readonly { version: string }[] };

// Which version is meant where none is named: there must be no doubt.
async function onlyNewer({ route, plugin }: Place, client: AdminClient): Promise<string> {
  const { body: there } = await client.call<Attached>(
    "GET",
    `/admin/routes/${encodeURIComponent(route)}/plugins`,
  );
  const { body: stored } = await client.call<Stored>(
    "GET",
    `/admin/plugins/${encodeURIComponent(plugin)}`,
  );
  const serving = there.find((each) => each.plugin === plugin)?.resolved ?? stored.current;
  const newer = stored.versions
    .map(({ version }) => version)
    .filter((version) => gt(version, serving));
  if (newer.length === 1) return newer[0];
  const way =
    newer.length === 0
      ? "store one: sallyport plugin push FILE --hold"
      : `say which of ${newer.join(", ")}: --candidate VERSION`;
  throw new CliError(`${plugin} has ${newer.length} versions newer than ${serving}; ${way}`);
}

function pathOf({ route, plugin }: Place): string {
  return `/admin/routes/${encodeURIComponent(route)}/rollouts/${encodeURIComponent(plugin)}`;
}
