// sallyport plugin dev: at every save builds, tests and uploads. What does not build or fails a case
// never reaches the gateway, and the version before serves on.

import { performance } from "node:perf_hooks";
import type { AdminClient } from "../../client.ts";
import { runCases } from "../author/run-cases.ts";
import { changeOf, folderState } from "../author/watch.ts";
import { reportError } from "../output.ts";
import type { Output } from "../output.ts";
import { buildOrTell } from "./plugin-build.ts";
import { needCases, resultText } from "./plugin-test.ts";
import { attachTo, pushModule } from "./plugin.ts";

export type DevOptions = { readonly route: string; readonly output: Output };

/** Runs until it is ended from outside. */
export async function devCommand(
  folder: string,
  client: AdminClient,
  options: DevOptions,
): Promise<number> {
  const { output, route } = options;
  // A wrong route or key shows before the first build does.
  await client.call("GET", `/admin/routes/${encodeURIComponent(route)}`);
  let live: string | null = null;
  for (let state = await folderState(folder); ; state = await changeOf(folder, state)) {
    const beganMs = performance.now();
    try {
      live = (await round(folder, client, { ...options, beganMs })) ?? tellKept(live, output);
    } catch (error) {
      // The editor's next save, or the gateway's return, may mend it.
      reportError(error, output);
      tellKept(live, output);
    }
    output.note(`waiting for a change in ${folder}; ^C ends`);
  }
}

async function round(
  folder: string,
  client: AdminClient,
  { route, output, beganMs }: DevOptions & { readonly beganMs: number },
): Promise<string | null> {
  const built = await buildOrTell(folder, output);
  if (built === null) return null;
  const results = await runCases(built, needCases(folder));
  const failed = results.filter(({ passed }) => !passed);
  if (failed.length > 0) {
    const count = `${failed.length} of ${results.length} cases failed`;
    output.result({ live: false, cases: results }, () =>
      [...failed.map(resultText), count].join("\n"),
    );
    return null;
  }
  const pushed = await pushModule(built.bytes, client, {});
  const { revision } = await attachTo(route, pushed.name, client);
  const version = `${pushed.name}@${pushed.version}`;
  const tookMs = Math.round(performance.now() - beganMs);
  const facts = { live: true, ...pushed, route, revision, save_to_live_ms: tookMs };
  output.result(
    facts,
    () =>
      `live: ${version} on ${route}, ${results.length} cases passed, ${tookMs} ms after the save`,
  );
  return version;
}

function tellKept(live: string | null, output: Output): string | null {
  output.note(live === null ? "nothing is live yet" : `kept: ${live} serves on`);
  return live;
}
