// How a command is described: its words, an example, its options, and what it does. One place adds
// what every command has: --json, where the admin API is, exit codes in --help, and suggestions.

import type { Command } from "commander";
import type { AdminClient } from "../client.ts";
import { createOutput } from "./output.ts";
import type { Output } from "./output.ts";

export const EXIT_CODES = "\nExit codes: 0 done, 1 no (invalid, different, refused), 2 trouble.";

/** One call of a command. */
export type Call<O> = {
  readonly args: readonly string[];
  readonly options: O;
  readonly output: Output;
  client(): Promise<AdminClient>;
};

export type CommandFacts = {
  readonly name: string;
  /** One line for --help. */
  readonly what: string;
  readonly example: string;
  /** In commander's form: `<needed>`, `[optional]`. */
  readonly args?: readonly string[];
  readonly options?: readonly OptionFacts[];
  /** It asks a running gateway. */
  readonly isRemote?: boolean;
  /** It has no result that could be JSON. */
  readonly isText?: boolean;
};

export type OptionFacts = {
  readonly flags: string;
  readonly what: string;
  /** The command does not go without it. */
  readonly isNeeded?: boolean;
  readonly parse?: (text: string, before: never) => unknown;
  readonly fallback?: unknown;
};

type GlobalOptions = { readonly json?: boolean; readonly admin?: string; readonly key?: string };

/** A word with words of its own. */
export function addGroup(parent: Command, name: string, what: string): Command {
  return parent.command(name).description(what).helpCommand(false).addHelpText("after", EXIT_CODES);
}

/** Adds commands below one parent; `finish` gets each one's exit code. */
export class Words {
  readonly #parent: Command;
  readonly #finish: (code: number) => void;

  constructor(parent: Command, finish: (code: number) => void) {
    this.#parent = parent;
    this.#finish = finish;
  }

  /** Adds a command; `act` resolves to its exit code. */
  add<O = object>(facts: CommandFacts, act: (call: Call<O>) => Promise<number>): void {
    const command = this.#parent
      .command(facts.name)
      .description(facts.what)
      .showSuggestionAfterError(true)
      .addHelpText("after", `\nExample: sallyport ${facts.example}${EXIT_CODES}`);
    for (const argument of facts.args ?? []) command.argument(argument);
    for (const { flags, what, isNeeded, parse, fallback } of facts.options ?? []) {
      if (isNeeded === true) command.requiredOption(flags, what);
      else if (parse === undefined) command.option(flags, what);
      else
        command.option(flags, what, parse as (text: string, before: unknown) => unknown, fallback);
    }
    if (facts.isText !== true) command.option("--json", "prints the result as JSON");
    if (facts.isRemote === true) {
      command.option("--admin <url>", "the admin API (SALLYPORT_ADMIN; http://127.0.0.1:9180)");
      command.option("--key <key>", "a key of it (SALLYPORT_KEY; found on the same host)");
    }
    command.action(async (...given: unknown[]) => {
      const args = given.slice(0, -2).filter((each): each is string => typeof each === "string");
      this.#finish(await act({ args, ...contextOf<O>(command) }));
    });
  }
}

function contextOf<O>(command: Command): Omit<Call<O>, "args"> {
  const options = command.opts<GlobalOptions>();
  return {
    options: options as O,
    output: createOutput({ json: options.json ?? false }),
    client: async () => {
      const { connectAdmin } = await import("../client.ts");
      return await connectAdmin({ url: options.admin, key: options.key, env: process.env });
    },
  };
}
