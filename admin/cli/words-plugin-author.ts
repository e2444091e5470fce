// The words of `sallyport plugin` for those who write plugins: they work without a gateway, but dev.

import { InvalidArgumentError } from "commander";
import type { Language } from "./author/project.ts";
import type { Words } from "./words.ts";

const FOLDER = "[dir]";

type CallFlags = { readonly input?: string; readonly config?: string; readonly case?: string };
type SignFlags = { readonly key: string; readonly name?: string; readonly as?: string };
type TestFlags = {
  readonly watch?: boolean;
  readonly coverage?: boolean;
  readonly bench?: boolean;
};

/** Adds the words. */
export function addAuthoring(words: Words): void {
  words.add<{ readonly lang: Language }>(
    {
      name: "new",
      what: "Makes the files of a new plugin",
      example: "plugin new tier --lang as",
      args: ["<name>", FOLDER],
      options: [
        {
          flags: "--lang <language>",
          what: "as (AssemblyScript) or rust",
          parse: languageOf,
          fallback: "as",
        },
      ],
    },
    async ({ args: [name, folder], options: { lang }, output }) => {
      const { newCommand } = await import("./commands/plugin-new.ts");
      return await newCommand(name, folder, { lang, output });
    },
  );
  words.add(
    {
      name: "build",
      what: "Compiles a plugin's folder to NAME.wasm",
      example: "plugin build tier",
      args: [FOLDER],
    },
    async ({ args: [folder = "."], output }) => {
      const { buildCommand } = await import("./commands/plugin-build.ts");
      return await buildCommand(folder, output);
    },
  );
  addRunning(words);
  addSigning(words);
  words.add<{ readonly route: string }>(
    {
      name: "dev",
      what: "At every save builds, tests and makes live",
      example: "plugin dev tier --route hello",
      args: [FOLDER],
      options: [{ flags: "--route <route>", what: "where it is attached", isNeeded: true }],
      isRemote: true,
    },
    async ({ args: [folder = "."], options: { route }, client, output }) => {
      const { devCommand } = await import("./commands/plugin-dev.ts");
      return await devCommand(folder, await client(), { route, output });
    },
  );
}

function addRunning(words: Words): void {
  words.add<TestFlags>(
    {
      name: "test",
      what: "Builds a plugin and runs its cases",
      example: "plugin test tier --coverage",
      args: [FOLDER],
      options: [
        { flags: "--watch", what: "again at every save" },
        { flags: "--coverage", what: "which of its functions the cases reached" },
        { flags: "--bench", what: "how long each case takes" },
      ],
    },
    async ({ args: [folder = "."], options, output }) => {
      const { testCommand } = await import("./commands/plugin-test.ts");
      return await testCommand(folder, { ...options, output });
    },
  );
  words.add(
    {
      name: "inspect",
      what: "Shows a module, and if it would be admitted",
      example: "plugin inspect authz.wasm",
      args: ["<file>"],
    },
    async ({ args: [file], output }) => {
      const { inspectCommand } = await import("./commands/plugin-inspect.ts");
      return await inspectCommand(file, output);
    },
  );
  words.add<CallFlags>(
    {
      name: "call",
      what: "Runs an export of any Extism module",
      example: "plugin call tier.wasm on_request --case cases/deny.json",
      args: ["<file>", "<export>"],
      options: [
        { flags: "--input <text>", what: "the input; @FILE reads it from a file" },
        { flags: "--config <json>", what: "the configuration, an object" },
        { flags: "--case <file>", what: "a golden case: its request and configuration" },
      ],
    },
    async ({ args: [file, name], options, output }) => {
      const { callCommand } = await import("./commands/plugin-call.ts");
      return await callCommand(file, name, { ...options, output });
    },
  );
}

function addSigning(words: Words): void {
  words.add<{ readonly out: string }>(
    {
      name: "keygen",
      what: "Makes a pair of keys to sign plugins with",
      example: "plugin keygen --out keys/release",
      options: [{ flags: "--out <path>", what: "where: PATH.key and PATH.pub", isNeeded: true }],
    },
    async ({ options: { out }, output }) => {
      const { keygenCommand } = await import("./commands/plugin-sign.ts");
      return await keygenCommand(out, output);
    },
  );
  words.add<SignFlags>(
    {
      name: "sign",
      what: "Signs a module: writes FILE.sig",
      example: "plugin sign authz.wasm --key keys/release.key",
      args: ["<file>"],
      options: [
        { flags: "--key <file>", what: "the private key, of plugin keygen", isNeeded: true },
        { flags: "--name <name>", what: "in place of the manifest's name" },
        { flags: "--as <version>", what: "in place of the manifest's version" },
      ],
    },
    async ({ args: [file], options: { key, name, as: version }, output }) => {
      const { signCommand } = await import("./commands/plugin-sign.ts");
      return await signCommand(file, { key, name, version, output });
    },
  );
}

function languageOf(text: string): Language {
  if (text === "as" || text === "rust") return text;
  throw new InvalidArgumentError("as or rust is needed.");
}
