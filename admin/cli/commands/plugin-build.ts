// sallyport plugin build: a plugin's folder to NAME.wasm.

import { CompileError } from "../../../plugins-src/compile-fault.ts";
import { SandboxError } from "../../../sandbox/sandbox.ts";
import { buildPlugin, writeModule } from "../author/build-plugin.ts";
import type { Built } from "../author/build-plugin.ts";
import { readProject } from "../author/project.ts";
import { EXIT } from "../output.ts";
import type { Output } from "../output.ts";

export async function buildCommand(folder: string, output: Output): Promise<number> {
  const built = await buildOrTell(folder, output);
  if (built === null) return EXIT.no;
  output.result({ built: true, ...factsOf(built) }, () => builtText(built));
  return EXIT.ok;
}

/** Builds and writes; null when the sources are at fault, which is told then. */
export async function buildOrTell(folder: string, output: Output): Promise<Built | null> {
  try {
    const built = await buildPlugin(await readProject(folder));
    await writeModule(built);
    return built;
  } catch (error) {
    if (error instanceof CompileError) {
      const count = error.faults.length === 1 ? "1 error" : `${error.faults.length} errors`;
      output.result({ built: false, faults: error.faults }, () => `${error.message}\n${count}`);
      return null;
    }
    if (!(error instanceof SandboxError)) throw error;
    const { code, message } = error;
    output.result(
      { built: false, faults: [{ code, message }] },
      () => `it compiles, but the gateway would refuse it: ${code}: ${message}`,
    );
    return null;
  }
}

export function factsOf({ project, bytes, digest, tookMs }: Built) {
  return {
    name: project.name,
    file: project.file,
    size_bytes: bytes.length,
    digest,
    took_ms: tookMs,
  };
}

export function builtText({ project, bytes, tookMs }: Built): string {
  return `${project.file}: ${bytes.length} bytes in ${tookMs} ms`;
}
