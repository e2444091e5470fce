// One call of a plugin on a made-up request, for the admin API's test: in a thread of its own, so
// that a plugin that does not end is ended and the primary goes on.

import { Worker } from "node:worker_threads";
import type { PluginSample } from "../../admin/api/control.ts";
import type { Manifest } from "../../sandbox/sandbox.ts";

const SAMPLE_MS = 2_000;

/** A plugin's version with its prepared bytes. */
export type SampledPlugin = {
  readonly name: string;
  readonly version: string;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest | null;
};

export type SampleTask = { readonly plugin: SampledPlugin; readonly sample: PluginSample };

/** The decision of the plugin, or the code of what went wrong. */
export type SampleResult = Readonly<Record<string, unknown>>;

/** Runs `on_request` once; ends within two seconds. */
export async function trySample(
  plugin: SampledPlugin,
  sample: PluginSample,
): Promise<SampleResult> {
  const workerData: SampleTask = { plugin, sample };
  const thread = new Worker(new URL("./sample-thread.ts", import.meta.url), { workerData });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<SampleResult>((resolve, reject) => {
      timer = setTimeout(
        () =>
          resolve({
            action: "error",
            code: "PLUGIN_DEADLINE",
            message: `no end in ${SAMPLE_MS} ms`,
          }),
        SAMPLE_MS,
      );
      thread.once("message", resolve);
      thread.once("error", reject);
    });
  } finally {
    clearTimeout(timer);
    await thread.terminate();
  }
}
