// sallyport key new, and whoami. A key is printed once and kept nowhere; the configuration gets its hash.

import { hashOfKey, makeKey } from "../../../gateway/config/admin-keys.ts";
import { checkConfigValue } from "../../../gateway/config/parse.ts";
import type { AdminClient } from "../../client.ts";
import { CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";

/** Prints a new key on standard output, and what the configuration needs on standard error. */
export function newKeyCommand(
  { name, role }: { readonly name: string; readonly role: string },
  output: Output,
): number {
  const key = makeKey();
  const entry = { name, role, hash: hashOfKey(key) };
  checkEntry(entry);
  output.note(`Add this to the configuration; the key itself is shown only now.

admin:
  keys:
    - { name: ${JSON.stringify(name)}, role: ${role}, hash: "${entry.hash}" }
`);
  output.result({ ...entry, key }, () => key);
  return EXIT.ok;
}

export async function whoamiCommand(client: AdminClient, output: Output): Promise<number> {
  const { body } = await client.call<{ name: string; role: string }>("GET", "/admin/whoami");
  output.result(body, () => `${body.name}, role ${body.role}`);
  return EXIT.ok;
}

// By the rules of the configuration, so that what is made can be added.
function checkEntry(entry: Readonly<Record<string, string>>): void {
  const nowhere = { plugins: null, env: {}, baseDir: ".", readFile: () => "" };
  const checked = checkConfigValue({ admin: { keys: [entry] } }, nowhere);
  if (checked.ok) return;
  const [{ path, message }] = checked.faults;
  throw new CliError(`--${path.split("/").at(-1) ?? ""}: ${message}`);
}
