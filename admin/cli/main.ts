// The command line: words to commands. What a command does is in commands/ and loaded when it is
// called, so that --help is quick.

import { Command, CommanderError, InvalidArgumentError } from "commander";
import type { AdminClient } from "../client.ts";
import type { InspectModule } from "./commands/plugin.ts";
import { EXIT, createOutput, reportError } from "./output.ts";
import type { Output } from "./output.ts";

export type RunOptions = {
  readonly config: string;
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
  readonly inspect: InspectModule;
};

type GlobalOptions = { readonly json?: boolean; readonly admin?: string; readonly key?: string };

const EXIT_CODES = "\nExit codes: 0 done, 1 no (invalid, different, refused), 2 trouble.";

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

type Finish = (code: number) => void;
type Context = { readonly output: Output; client(): Promise<AdminClient> };

function buildProgram(parts: CliParts, finish: Finish): Command {
  const program = new Command("sallyport")
    .description("An API gateway whose policies are WebAssembly plugins.")
    .version(parts.version, "-V, --version")
    .configureHelp({ showGlobalOptions: false })
    .showSuggestionAfterError(true)
    .exitOverride()
    .addHelpText("after", `\nExample: sallyport run -c sallyport.yaml${EXIT_CODES}`);
  addRun(program, parts, finish);
  addConfig(program, finish);
  addExplain(program, finish);
  addPlugin(program, parts, finish);
  addOperation(program, parts, finish);
  return program;
}

function addRun(program: Command, parts: CliParts, finish: Finish): void {
  leaf(program, "run", "Runs the gateway", "sallyport run -c /etc/sallyport/sallyport.yaml")
    .option("-c, --config <file>", "the configuration", "sallyport.yaml")
    .option("--data-dir <dir>", "in place of the file's data_dir")
    .option("--workers <n>", "in place of the file's workers", positive)
    .option("--plugin <name=file>", "stores a module at start, current; repeatable", seedOf, [])
    .option("--demo", "with the demonstration's configuration and plugins")
    .action(async (options: RunFlags) => {
      const { config, dataDir = null, workers = null, demo = false, plugin: seeds } = options;
      finish(await parts.run({ config, dataDir, workers, demo, seeds }));
    });
}

type RunFlags = {
  readonly config: string;
  readonly dataDir?: string;
  readonly workers?: number;
  readonly demo?: boolean;
  readonly plugin: RunOptions["seeds"];
};

function addConfig(program: Command, finish: Finish): void {
  const config = group(program, "config", "Checks, compares and applies configurations");
  const load = async () => await import("./commands/config.ts");
  common(
    leaf(
      config,
      "check",
      "Reports every fault of a file at once",
      "sallyport config check sallyport.yaml",
    ),
  )
    .argument("<file>")
    .action(async (file: string, _options: unknown, command: Command) => {
      const { checkCommand, loadFile } = await load();
      finish(checkCommand(await loadFile(file), contextOf(command).output));
    });
  remote(
    leaf(
      config,
      "diff",
      "Compares a file with the live configuration",
      "sallyport config diff sallyport.yaml",
    ),
  )
    .argument("<file>")
    .action(async (file: string, _options: unknown, command: Command) => {
      const { diffCommand, loadFile } = await load();
      const { output, client } = contextOf(command);
      finish(await diffCommand(await loadFile(file), await client(), output));
    });
  for (const name of ["apply", "sync"] as const) {
    const isSync = name === "sync";
    const what = isSync ? "Applies a file and removes what it does not name" : "Applies a file";
    const command = remote(leaf(config, name, what, `sallyport config ${name} sallyport.yaml`))
      .argument("<file>")
      .option("--dry-run", "shows the difference and changes nothing");
    if (!isSync) command.option("--prune", "removes what the file does not name");
    command.action(
      async (file: string, options: { prune?: boolean; dryRun?: boolean }, self: Command) => {
        const { applyCommand, loadFile } = await load();
        const { output, client } = contextOf(self);
        const loaded = await loadFile(file);
        const flags = { prune: isSync || options.prune === true, dryRun: options.dryRun === true };
        try {
          finish(await applyCommand(loaded, await client(), { ...flags, output }));
        } catch (error) {
          finish(reportError(error, output, loaded));
        }
      },
    );
  }
  remote(
    leaf(config, "dump", "Prints the live configuration", "sallyport config dump > live.yaml"),
  ).action(async (_options: unknown, command: Command) => {
    const { output, client } = contextOf(command);
    finish(await (await load()).dumpCommand(await client(), output));
  });
  leaf(
    config,
    "schema",
    "Prints the configuration's JSON Schema",
    "sallyport config schema",
  ).action(async (_options: unknown, command: Command) => {
    finish((await load()).schemaCommand(contextOf(command).output));
  });
  remote(leaf(config, "revisions", "Lists all revisions", "sallyport config revisions")).action(
    async (_options: unknown, command: Command) => {
      const { output, client } = contextOf(command);
      finish(await (await load()).revisionsCommand(await client(), output));
    },
  );
  remote(leaf(config, "rollback", "Makes a revision live again", "sallyport config rollback 3"))
    .argument("<revision>")
    .action(async (revision: string, _options: unknown, command: Command) => {
      const { output, client } = contextOf(command);
      finish(await (await load()).rollbackCommand(revision, await client(), output));
    });
}

function addExplain(program: Command, finish: Finish): void {
  const example = "sallyport explain GET http://api.example.com/orders -c sallyport.yaml";
  common(
    leaf(program, "explain", "Says which route a request takes and why; works offline", example),
  )
    .argument("<method>")
    .argument("<url>")
    .option("-H, --header <field...>", "a header, as in curl")
    .option("-c, --config <file>", "the configuration", "sallyport.yaml")
    .action(
      async (
        method: string,
        url: string,
        options: { header?: string[]; config: string },
        command: Command,
      ) => {
        const { output } = contextOf(command);
        const { checkLoaded, loadFile } = await import("./commands/config.ts");
        const { explainRequest, explanationText } = await import("./explain.ts");
        const config = checkLoaded(await loadFile(options.config), output);
        if (config === null) return finish(EXIT.trouble);
        const headers = (options.header ?? []).map(splitField);
        const explanation = explainRequest(config, { method: method.toUpperCase(), url, headers });
        output.result(explanation, () => explanationText(explanation));
        finish(explanation.route === null ? EXIT.no : EXIT.ok);
      },
    );
}

function addPlugin(program: Command, parts: CliParts, finish: Finish): void {
  const plugin = group(program, "plugin", "Ships plugins and looks at them");
  const load = async () => await import("./commands/plugin.ts");
  remote(
    leaf(
      plugin,
      "push",
      "Uploads a module as the next version, live at once",
      "sallyport plugin push authz.wasm --attach orders",
    ),
  )
    .argument("<file>")
    .option("--name <name>", "in place of the manifest's name")
    .option("--as <version>", "the version; the next patch number when left out")
    .option("--attach <route>", "adds it to the end of a route's plugins")
    .action(
      async (
        file: string,
        options: { name?: string; as?: string; attach?: string },
        command: Command,
      ) => {
        const { output, client } = contextOf(command);
        const { name, as: version, attach } = options;
        const wanted = { name, version, attach, output };
        finish(await (await load()).pushCommand(file, await client(), wanted));
      },
    );
  remote(leaf(plugin, "list", "Lists plugins", "sallyport plugin list")).action(
    async (_options: unknown, command: Command) => {
      const { output, client } = contextOf(command);
      finish(await (await load()).listCommand(await client(), output));
    },
  );
  remote(
    leaf(plugin, "versions", "Lists the versions of a plugin", "sallyport plugin versions authz"),
  )
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { output, client } = contextOf(command);
      finish(await (await load()).versionsCommand(name, await client(), output));
    });
  remote(
    leaf(plugin, "rm", "Removes a version that no route uses", "sallyport plugin rm authz@1.0.0"),
  )
    .argument("<name@version>")
    .action(async (spec: string, _options: unknown, command: Command) => {
      const { output, client } = contextOf(command);
      finish(await (await load()).removeCommand(spec, await client(), output));
    });
  remote(
    leaf(plugin, "rollback", "Makes an earlier version current", "sallyport plugin rollback authz"),
  )
    .argument("<name>")
    .argument("[version]")
    .action(
      async (name: string, version: string | undefined, _options: unknown, command: Command) => {
        const { output, client } = contextOf(command);
        finish(await (await load()).rollbackPluginCommand(name, version, await client(), output));
      },
    );
  common(
    leaf(
      plugin,
      "inspect",
      "Shows what a module is and whether it would be admitted",
      "sallyport plugin inspect authz.wasm",
    ),
  )
    .argument("<file>")
    .action(async (file: string, _options: unknown, command: Command) => {
      finish(await (await load()).inspectCommand(file, parts.inspect, contextOf(command).output));
    });
}

function addOperation(program: Command, parts: CliParts, finish: Finish): void {
  remote(
    leaf(program, "status", "Shows the gateway, its listeners and workers", "sallyport status"),
  ).action(async (_options: unknown, command: Command) => {
    const { output, client } = contextOf(command);
    finish(await (await import("./commands/status.ts")).statusCommand(await client(), output));
  });
  remote(
    leaf(program, "drain", "Lets requests end and stops the gateway", "sallyport drain"),
  ).action(async (_options: unknown, command: Command) => {
    const { output, client } = contextOf(command);
    finish(await (await import("./commands/status.ts")).drainCommand(await client(), output));
  });
  leaf(program, "completion", "Prints a completion script", "source <(sallyport completion bash)")
    .argument("<shell>", "bash, zsh or fish")
    .action(async (shell: string, _options: unknown, command: Command) => {
      const { completionScript } = await import("./completion.ts");
      contextOf(command).output.print(completionScript(program, shell));
    });
  common(leaf(program, "version", "Prints the version", "sallyport version")).action(
    (_options: unknown, command: Command) => {
      const facts = { version: parts.version, node: process.version };
      contextOf(command).output.result(
        facts,
        () => `sallyport ${parts.version} (node ${process.version})`,
      );
    },
  );
}

function group(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .helpCommand(false)
    .addHelpText("after", EXIT_CODES);
}

function leaf(parent: Command, name: string, description: string, example: string): Command {
  return parent
    .command(name)
    .description(description)
    .showSuggestionAfterError(true)
    .addHelpText("after", `\nExample: ${example}${EXIT_CODES}`);
}

function common(command: Command): Command {
  return command.option("--json", "prints the result as JSON");
}

function remote(command: Command): Command {
  return common(command)
    .option("--admin <url>", "the admin API (SALLYPORT_ADMIN; http://127.0.0.1:9180)")
    .option("--key <key>", "the admin key (SALLYPORT_KEY; found on the same host)");
}

function contextOf(command: Command): Context {
  const options = command.opts<GlobalOptions>();
  return {
    output: createOutput({ json: options.json ?? false }),
    client: async () => {
      const { connectAdmin } = await import("../client.ts");
      return await connectAdmin({ url: options.admin, key: options.key, env: process.env });
    },
  };
}

function positive(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new InvalidArgumentError("a number from 1 to 999.");
  return Number(text);
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
