// The words of `sallyport config`.

import type { Command } from "commander";
import { reportError } from "./output.ts";
import { Words, addGroup } from "./words.ts";

type ApplyFlags = { readonly prune?: boolean; readonly dryRun?: boolean };

/** Adds the group to the program. */
export function addConfig(program: Command, finish: (code: number) => void): void {
  const group = addGroup(program, "config", "Checks, compares and applies configurations");
  const words = new Words(group, finish);
  const load = async () => await import("./commands/config.ts");
  words.add(
    {
      name: "check",
      what: "Reports every fault of a file at once",
      example: "config check sallyport.yaml",
      args: ["<file>"],
    },
    async ({ args: [file], output }) => {
      const { checkCommand, loadFile } = await load();
      return checkCommand(await loadFile(file), output);
    },
  );
  words.add(
    {
      name: "diff",
      what: "Compares a file with the live configuration",
      example: "config diff sallyport.yaml",
      args: ["<file>"],
      isRemote: true,
    },
    async ({ args: [file], client, output }) => {
      const { diffCommand } = await import("./commands/config-diff.ts");
      const { loadFile } = await load();
      return await diffCommand(await loadFile(file), await client(), output);
    },
  );
  addApply(words);
  addRevisions(words);
}

function addApply(words: Words): void {
  const dryRun = { flags: "--dry-run", what: "shows the difference and changes nothing" };
  const prune = { flags: "--prune", what: "removes what the file does not name" };
  for (const name of ["apply", "sync"] as const) {
    const isSync = name === "sync";
    words.add<ApplyFlags>(
      {
        name,
        what: isSync ? "Applies a file and removes what it does not name" : "Applies a file",
        example: `config ${name} sallyport.yaml`,
        args: ["<file>"],
        options: isSync ? [dryRun] : [dryRun, prune],
        isRemote: true,
      },
      async ({ args: [file], options, client, output }) => {
        const { applyCommand, loadFile } = await import("./commands/config.ts");
        const loaded = await loadFile(file);
        const flags = { prune: isSync || options.prune === true, dryRun: options.dryRun === true };
        try {
          return await applyCommand(loaded, await client(), { ...flags, output });
        } catch (error) {
          // Faults that the gateway found are shown in the file that was sent.
          return reportError(error, output, loaded);
        }
      },
    );
  }
}

function addRevisions(words: Words): void {
  const load = async () => await import("./commands/config.ts");
  words.add(
    {
      name: "dump",
      what: "Prints the live configuration",
      example: "config dump > live.yaml",
      isRemote: true,
    },
    async ({ client, output }) => (await load()).dumpCommand(await client(), output),
  );
  words.add(
    {
      name: "schema",
      what: "Prints the configuration's JSON Schema",
      example: "config schema",
      isText: true,
    },
    async ({ output }) => (await load()).schemaCommand(output),
  );
  words.add(
    {
      name: "revisions",
      what: "Lists all revisions",
      example: "config revisions",
      isRemote: true,
    },
    async ({ client, output }) => (await load()).revisionsCommand(await client(), output),
  );
  words.add(
    {
      name: "rollback",
      what: "Makes a revision live again",
      example: "config rollback 3",
      args: ["<revision>"],
      isRemote: true,
    },
    async ({ args: [revision], client, output }) =>
      (await load()).rollbackCommand(revision, await client(), output),
  );
}
