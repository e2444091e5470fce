// The words of `sallyport plugin`.

import type { Command } from "commander";
import { addAuthoring } from "./words-plugin-author.ts";
import { Words, addGroup } from "./words.ts";

type PushFlags = { readonly name?: string; readonly as?: string; readonly attach?: string };

/** Adds the group to the program. */
export function addPlugin(program: Command, finish: (code: number) => void): void {
  const words = new Words(addGroup(program, "plugin", "Makes, tests and ships plugins"), finish);
  addAuthoring(words);
  const load = async () => await import("./commands/plugin.ts");
  words.add<PushFlags>(
    {
      name: "push",
      what: "Uploads a module as the next version, live at once",
      example: "plugin push authz.wasm --attach orders",
      args: ["<file>"],
      options: [
        { flags: "--name <name>", what: "in place of the manifest's name" },
        { flags: "--as <version>", what: "the version; the next patch number when left out" },
        { flags: "--attach <route>", what: "adds it to the end of a route's plugins" },
      ],
      isRemote: true,
    },
    async ({ args: [file], options: { name, as: version, attach }, client, output }) => {
      const wanted = { name, version, attach, output };
      return await (await load()).pushCommand(file, await client(), wanted);
    },
  );
  addVersions(words);
}

function addVersions(words: Words): void {
  const load = async () => await import("./commands/plugin.ts");
  words.add(
    { name: "list", what: "Lists plugins", example: "plugin list", isRemote: true },
    async ({ client, output }) => (await load()).listCommand(await client(), output),
  );
  words.add(
    {
      name: "versions",
      what: "Lists the versions of a plugin",
      example: "plugin versions authz",
      args: ["<name>"],
      isRemote: true,
    },
    async ({ args: [name], client, output }) =>
      (await load()).versionsCommand(name, await client(), output),
  );
  words.add(
    {
      name: "rm",
      what: "Removes a version that no route uses",
      example: "plugin rm authz@1.0.0",
      args: ["<name@version>"],
      isRemote: true,
    },
    async ({ args: [spec], client, output }) =>
      (await load()).removeCommand(spec, await client(), output),
  );
  words.add(
    {
      name: "rollback",
      what: "Makes an earlier version current",
      example: "plugin rollback authz",
      args: ["<name>", "[version]"],
      isRemote: true,
    },
    async ({ args: [name, version], client, output }) =>
      (await load()).rollbackPluginCommand(name, version, await client(), output),
  );
}
