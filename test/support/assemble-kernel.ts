// Assembles sandbox/kernel.wat, so that the bytes committed beside it can be made and checked. Run
// as a program it writes sandbox/kernel-bytes.ts; the unit test of the kernel compares the two.

import { readFileSync, writeFileSync } from "node:fs";
import wabt from "wabt";

const source = new URL("../../sandbox/kernel.wat", import.meta.url);
const target = new URL("../../sandbox/kernel-bytes.ts", import.meta.url);

/** The kernel's module as wabt assembles it, without a name section. */
export async function assembleKernel(): Promise<Uint8Array> {
  const { parseWat } = await wabt();
  const module = parseWat("kernel.wat", readFileSync(source, "utf8"), { bulk_memory: true });
  try {
    module.validate();
    return module.toBinary({ write_debug_names: false }).buffer;
  } finally {
    module.destroy();
  }
}

/** The text of kernel-bytes.ts for these bytes. */
export function kernelBytesFile(bytes: Uint8Array): string {
  const base64 = Buffer.from(bytes).toString("base64");
  const lines = base64.match(/.{1,88}/g) ?? [];
  const body = lines.map((line) => `  "${line}"`).join(" +\n");
  return `// kernel.wat, assembled. Made by \`node test/support/assemble-kernel.ts\`, never edited: the unit test
// of the kernel assembles the source again and compares.

/** The kernel's module in base64. */
export const KERNEL_BASE64 =
${body};
`;
}

if (import.meta.main) writeFileSync(target, kernelBytesFile(await assembleKernel()));
