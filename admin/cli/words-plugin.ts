// The words of `sallyport plugin`.

import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import type { ReplayOptions } from "./commands/plugin-replay.ts";
import { addAuthoring } from "./words-plugin-author.ts";
import { Words, addGroup } from "./words.ts";

type PushFlags = {
  readonly name?: string;
  readonly as?: string;
  readonly attach?: string;
  readonly hold?: boolean;
  readonly signature?: string;
};

/** Adds the group to the program. */
export function addPlugin(program: Command, finish: (code: number) => void): void {
  const words = new Words(addGroup(program, "plugin", "Makes, tests and ships plugins"), finish);
  addAuthoring(words);
  const load = async () => await import("./commands/plugin.ts");
  words.add<PushFlags>(
    {
      name: "push",
      what: "Uploads a version, live at once",
      example: "plugin push authz.wasm --attach orders",
      args: ["<file>"],
      options: [
        { flags: "--name <name>", what: "in place of the manifest's name" },
        { flags: "--as <version>", what: "the version; the next patch number when left out" },
        { flags: "--attach <route>", what: "adds it to the end of a route's plugins" },
        { flags: "--hold", what: "only stores it, to be rolled out" },
        { flags: "--signature <file>", what: "in place of FILE.sig or FILE.minisig" },
      ],
      isRemote: true,
    },
    async ({ args: [file], options: { as: version, hold, ...wishes }, client, output }) => {
      const wanted = { ...wishes, version, output };
      if (hold === true) {
        const { holdCommand } = await import("./commands/plugin-hold.ts");
        return await holdCommand(file, await client(), wanted);
      }
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
  words.add<{ readonly retired?: boolean }>(
    {
      name: "versions",
      what: "Lists the versions of a plugin",
      example: "plugin versions authz",
      args: ["<name>"],
      options: [{ flags: "--retired", what: "also those out of use" }],
      isRemote: true,
    },
    async ({ args: [name], options: { retired = false }, client, output }) =>
      (await load()).versionsCommand(name, await client(), { retired, output }),
  );
  words.add<ReplayOptions>(
    {
      name: "replay",
      what: "Runs a version on recorded requests",
      example: "plugin replay authz@2.0.0 --route orders",
      args: ["<name@version>"],
      options: [
        { flags: "--route <name>", what: "a route that records", isNeeded: true },
        { flags: "--last <n>", what: "differences to show (10)", parse: positiveOf, fallback: 10 },
      ],
      isRemote: true,
    },
    async ({ args: [spec], options, client, output }) => {
      const { replayCommand } = await import("./commands/plugin-replay.ts");
      return await replayCommand(spec, options, await client(), output);
    },
  );
  words.add<{ readonly purge?: boolean }>(
    {
      name: "rm",
      what: "Retires a version, which can be undone",
      example: "plugin rm authz@1.0.0",
      args: ["<name@version>"],
      options: [{ flags: "--purge", what: "forgets a retired version, and its bytes" }],
      isRemote: true,
    },
    async ({ args: [spec], options: { purge = false }, client, output }) =>
      (await load()).removeCommand(spec, await client(), { purge, output }),
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

function positiveOf(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("a number from 1 to 9999.");
  return Number(text);
}
