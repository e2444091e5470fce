// sallyport plugin new: the files of a first plugin. Touches no network and asks nothing.

import { existsSync } from "node:fs";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { PLUGIN_NAME } from "../author/project.ts";
import type { Language } from "../author/project.ts";
import { scaffold } from "../author/scaffold.ts";
import { CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";

/** Makes a plugin's folder: NAME, unless another one is given. */
export async function newCommand(
  name: string,
  folder: string | undefined,
  { lang, output }: { readonly lang: Language; readonly output: Output },
): Promise<number> {
  if (!PLUGIN_NAME.test(name)) {
    const rule = "a name is 1 to 64 of a-z, 0-9 and inner hyphens, a letter first";
    throw new CliError(`${JSON.stringify(name)} cannot be a plugin's name: ${rule}`);
  }
  const target = resolve(folder ?? name);
  const shown = relative(process.cwd(), target) || ".";
  if (existsSync(target) && (await entriesOf(target)).length > 0) {
    throw new CliError(
      `${shown} is there and not empty; name another folder: plugin new ${name} DIR`,
    );
  }
  const files = scaffold(name, lang, target);
  for (const [file, text] of files) {
    await mkdir(dirname(join(target, file)), { recursive: true });
    await writeFile(join(target, file), text, { flag: "wx" });
  }
  output.result({ name, lang, folder: shown, files: [...files.keys()] }, () =>
    [
      `${shown}/ has ${[...files.keys()].sort().join(", ")}`,
      "next:",
      `  sallyport plugin test ${shown}`,
      `  sallyport plugin push ${join(shown, `${name}.wasm`)} --attach ROUTE`,
    ].join("\n"),
  );
  return EXIT.ok;
}

async function entriesOf(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => {
    throw new CliError(`${folder} is no folder`);
  });
}
