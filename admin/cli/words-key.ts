// The words of `sallyport key`, and whoami.

import type { Command } from "commander";
import { Words, addGroup } from "./words.ts";

type NewFlags = { readonly role: string; readonly name: string };

/** Adds the group and whoami to the program. */
export function addKey(program: Command, finish: (code: number) => void): void {
  const load = async () => await import("./commands/key.ts");
  new Words(addGroup(program, "key", "Makes keys of the admin API"), finish).add<NewFlags>(
    {
      name: "new",
      what: "Makes a key, shows it once, and says what the configuration needs; works offline",
      example: "key new --role deploy --name ci",
      options: [
        {
          flags: "--role <role>",
          what: "read, deploy (plugins too) or admin (everything)",
          isNeeded: true,
        },
        { flags: "--name <name>", what: "what the audit log calls its holder", isNeeded: true },
      ],
    },
    async ({ options, output }) => (await load()).newKeyCommand(options, output),
  );
  new Words(program, finish).add(
    {
      name: "whoami",
      what: "Shows the name and role of the key in use",
      example: "whoami",
      isRemote: true,
    },
    async ({ client, output }) => await (await load()).whoamiCommand(await client(), output),
  );
}
