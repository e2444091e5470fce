// Golden cases of plugins as `sallyport plugin test` runs them, on modules that are admitted as an
// upload would be.

import { admit } from "../../admin/cli/author/admit.ts";
import type { LoadedPlugin } from "../../admin/cli/author/cases.ts";

export { decide, decideAll, readCases } from "../../admin/cli/author/cases.ts";
export type {
  Decided,
  GoldenCase,
  LoadedPlugin,
  PluginCase,
} from "../../admin/cli/author/cases.ts";

/** Admits a module, with the limits that attachments have by default. */
export async function loadPlugin(bytes: Uint8Array): Promise<LoadedPlugin> {
  return await admit(bytes);
}
