// sallyport plugin push --hold: a version that is stored and serves nowhere, so that it can be rolled out.

import type { AdminClient } from "../../client.ts";
import { manifestOf } from "../author/admit.ts";
import { readModule } from "../author/module-file.ts";
import { readSignature } from "../author/signature-file.ts";
import { CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";
import { signatureHeaders } from "./plugin.ts";
import type { Plugin, Pushed } from "./plugin.ts";

export type HoldOptions = {
  readonly name?: string;
  readonly version?: string;
  readonly attach?: string;
  readonly signature?: string;
  readonly output: Output;
};

export async function holdCommand(
  file: string,
  client: AdminClient,
  options: HoldOptions,
): Promise<number> {
  if (options.attach !== undefined) {
    throw new CliError("--hold stores a version for later: push without it, or without --attach");
  }
  const { output } = options;
  const bytes = await readModule(file);
  const signature = await readSignature(file, options.signature);
  const manifest = await manifestOf(file, bytes);
  const name = options.name ?? manifest?.name;
  const version = options.version ?? manifest?.version;
  if (name === undefined || version === undefined) {
    throw new CliError(`${file} has no manifest; say what it is: --name NAME --as VERSION`);
  }
  const path = `/admin/plugins/${encodeURIComponent(name)}`;
  const { body: held } = await client.call<Pushed>(
    "POST",
    `${path}/versions/${encodeURIComponent(version)}`,
    { body: bytes, headers: signatureHeaders(signature) },
  );
  const { body: plugin } = await client.call<Plugin>("GET", path);
  output.result(held, () => heldText(held, plugin));
  return EXIT.ok;
}

function heldText(held: Pushed, { versions }: Plugin): string {
  const { name, version, created, current, took_ms: tookMs, signed_by: signer } = held;
  const signed = signer === null ? "" : `, signed by ${signer}`;
  const stored = `${name}@${version} ${created ? "stored" : "known already"} in ${tookMs} ms${signed}`;
  if (current) return `${stored}\nit is current already: the only version, or made so before`;
  const routes = new Set(versions.flatMap((each) => each.routes));
  const starts = (routes.size === 0 ? ["ROUTE"] : [...routes]).map(
    (route) => `roll it out: sallyport rollout start ${route} ${name} --candidate ${version}`,
  );
  return [stored, ...starts].join("\n");
}
