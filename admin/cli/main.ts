// The command line: words to commands. What a command does is in commands/ and loaded when it is
// called, so that --help is quick.

import { Command, CommanderError, Help, InvalidArgumentError } from "commander";
import { EXIT, createOutput, reportError } from "./output.ts";
import { addConfig } from "./words-config.ts";
import { addKey } from "./words-key.ts";
import { addPlugin } from "./words-plugin.ts";
import { addRollout } from "./words-rollout.ts";
import { EXIT_CODES, Words } from "./words.ts";

export type RunOptions = {
  /** null: `sallyport.yaml`, or the demonstration's own. */
  readonly config: string | null;
  readonly dataDir: string | null;
  readonly workers: number | null;
  readonly demo: boolean;
  /** Plugins to have from the start on. */
  readonly seeds: readonly { readonly name: string; readonly file: string }[];
};

/** What the composition root brings. */
export type CliParts = {
  readonly version: string;
  run(options: RunOptions): Promise<number>;
};

/** Runs one command; resolves to the exit code. */
export async function runCli(argv: readonly string[], parts: CliParts): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = buildProgram(parts, (code) => (exitCode = code));
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.trouble;
    return reportError(error, createOutput({ json: false }));
  }
  return exitCode;
}

function buildProgram(parts: CliParts, finish: (code: number) => void): Command {
  const program = new Command("sallyport")
    .description("An API gateway whose policies are WebAssembly plugins.")
    .version(parts.version, "-V, --version")
    .configureHelp({
      showGlobalOptions: false,
      // Every command has options: a word of the room that what it does is told in.
      subcommandTerm: (command) => new Help().subcommandTerm(command).replace(" [options]", ""),
    })
    .helpCommand(false)
    .showSuggestionAfterError(true)
    .exitOverride()
    .addHelpText("after", `\nExample: sallyport run -c sallyport.yaml${EXIT_CODES}`);
  const words = new Words(program, finish);
  addRun(words, parts);
  addConfig(program, finish);
  addExplain(words);
  addPlugin(program, finish);
  addRollout(program, finish);
  addKey(program, finish);
  addOperation(words);
  words.add(
    {
      name: "completion",
      what: "Prints a completion script",
      example: "completion bash",
      args: ["<shell>"],
      isText: true,
    },
    async ({ args: [shell], output }) => {
      const { completionScript } = await import("./completion.ts");
      output.print(completionScript(program, shell));
      return EXIT.ok;
    },
  );
  words.add(
    { name: "version", what: "Prints the version", example: "version --json" },
    async ({ output }) => {
      const facts = { version: parts.version, node: process.version };
      output.result(facts, () => `sallyport ${parts.version} (node ${process.version})`);
      return EXIT.ok;
    },
  );
  return program;
}

type RunFlags = {
  readonly config?: string;
  readonly dataDir?: string;
  readonly workers?: number;
  readonly demo?: boolean;
  readonly plugin: RunOptions["seeds"];
};

function addRun(words: Words, parts: CliParts): void {
  words.add<RunFlags>(
    {
      name: "run",
      what: "Runs the gateway",
      example: "run -c /etc/sallyport/sallyport.yaml",
      options: [
        { flags: "-c, --config <file>", what: "the configuration (sallyport.yaml)" },
        { flags: "--data-dir <dir>", what: "in place of the file's data_dir" },
        { flags: "--workers <n>", what: "in place of the file's workers", parse: positive },
        {
          flags: "--plugin <name=file>",
          what: "stores a module at start, current; repeatable",
          parse: seedOf,
          fallback: [],
        },
        { flags: "--demo", what: "with the demonstration's configuration and plugins" },
      ],
      isText: true,
    },
    async ({ options }) => {
      const {
        config = null,
        dataDir = null,
        workers = null,
        demo = false,
        plugin: seeds,
      } = options;
      return await parts.run({ config, dataDir, workers, demo, seeds });
    },
  );
}

type ExplainFlags = {
  readonly header: readonly string[];
  readonly config?: string;
  readonly live?: boolean;
};

function addExplain(words: Words): void {
  words.add<ExplainFlags>(
    {
      name: "explain",
      what: "Says which route a request takes, and why",
      example: "explain GET http://api.example.com/orders -c sallyport.yaml",
      args: ["<method>", "<url>"],
      options: [
        {
          flags: "-H, --header <field>",
          what: "a header, as in curl",
          parse: collect,
          fallback: [],
        },
        { flags: "-c, --config <file>", what: "the configuration (sallyport.yaml)" },
        { flags: "--live", what: "what a running gateway serves, in place of a file" },
      ],
      isRemote: true,
    },
    async ({ args: [method, url], options, client, output }) => {
      const { checkLoaded, loadFile } = await import("./commands/config.ts");
      const { explainLive, explainRequest, explanationText } = await import("./explain.ts");
      const headers = options.header.map(splitField);
      const request = { method: method.toUpperCase(), url, headers };
      let explanation;
      if (options.live === true) explanation = await explainLive(await client(), request);
      else {
        const config = checkLoaded(await loadFile(options.config ?? "sallyport.yaml"), output);
        if (config === null) return EXIT.trouble;
        explanation = explainRequest(config, request);
      }
      output.result(explanation, () => explanationText(explanation));
      return explanation.route === null ? EXIT.no : EXIT.ok;
    },
  );
}

function addOperation(words: Words): void {
  words.add(
    {
      name: "status",
      what: "Shows the gateway, its listeners and workers",
      example: "status",
      isRemote: true,
    },
    async ({ client, output }) =>
      (await import("./commands/status.ts")).statusCommand(await client(), output),
  );
  words.add<{ readonly interval: number }>(
    {
      name: "top",
      what: "Shows live rates by route and worker",
      example: "top",
      options: [
        {
          flags: "--interval <seconds>",
          what: "how long a rate is measured",
          parse: positive,
          fallback: 2,
        },
      ],
      isRemote: true,
    },
    async ({ client, options, output }) => {
      const { topCommand } = await import("./commands/top.ts");
      return await topCommand(await client(), { intervalS: options.interval, output });
    },
  );
  words.add(
    {
      name: "drain",
      what: "Lets requests end and stops the gateway",
      example: "drain",
      isRemote: true,
    },
    async ({ client, output }) =>
      (await import("./commands/status.ts")).drainCommand(await client(), output),
  );
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError("a number from 1 to 999.");
  return Number(text);
}

function collect(text: string, before: readonly string[]): readonly string[] {
  return [...before, text];
}

function seedOf(text: string, before: RunOptions["seeds"]): RunOptions["seeds"] {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("NAME=FILE is needed, such as authz=./authz.wasm.");
  return [...before, { name: text.slice(0, at), file: text.slice(at + 1) }];
}

function splitField(field: string): [string, string] {
  const colon = field.indexOf(":");
  return colon === -1 ? [field, ""] : [field.slice(0, colon).trim(), field.slice(colon + 1).trim()];
}
