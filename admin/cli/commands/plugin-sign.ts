// sallyport plugin keygen and sign: a pair of keys, and signatures of modules by it. They work without
// a gateway; the private key is read and written here and goes nowhere else.

import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { open, rm, stat, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { rawEd25519, sallyportKeyId } from "../../../gateway/base/trusted-key.ts";
import { checkConfigValue } from "../../../gateway/config/parse.ts";
import { digestOf, parseSignedAs, signModule } from "../../../sandbox/sandbox.ts";
import { manifestOf } from "../author/admit.ts";
import { readModule } from "../author/module-file.ts";
import { CliError, EXIT } from "../output.ts";
import type { Output } from "../output.ts";

/** Writes NAME.key and NAME.pub, over nothing. */
export async function keygenCommand(out: string, output: Output): Promise<number> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = rawEd25519(publicKey);
  const entry = { name: basename(out), key: raw.toString("base64") };
  checkEntry(entry);
  const [keyFile, publicFile] = [`${out}.key`, `${out}.pub`];
  await writeNew(keyFile, privateKey.export({ format: "pem", type: "pkcs8" }), 0o600);
  try {
    await writeNew(publicFile, publicKey.export({ format: "pem", type: "spki" }), 0o644);
  } catch (error) {
    await rm(keyFile);
    throw error;
  }
  const facts = { ...entry, id: sallyportKeyId(raw), key_file: keyFile, public_file: publicFile };
  output.result(
    facts,
    () => `${keyFile}: the private key; who has it can sign plugins
${publicFile}: the public key ${facts.id}; the configuration needs

trusted_plugin_keys:
  - { name: ${JSON.stringify(entry.name)}, key: "${entry.key}" }`,
  );
  return EXIT.ok;
}

export type SignOptions = {
  readonly key: string;
  readonly name?: string;
  readonly version?: string;
  readonly output: Output;
};

/** Writes FILE.sig: over the signature of what the file held before. */
export async function signCommand(file: string, options: SignOptions): Promise<number> {
  const { key, output } = options;
  const privateKey = await readPrivateKey(key);
  const bytes = await readModule(file);
  const manifest = await manifestOf(file, bytes);
  const name = options.name ?? manifest?.name;
  const version = options.version ?? manifest?.version;
  if (name === undefined || version === undefined) {
    throw new CliError(`${file} has no manifest; say what it is: --name NAME --as VERSION`);
  }
  if (parseSignedAs(`${name}@${version}`) === null) {
    throw new CliError(`${name}@${version} is not a name and a version like authz@1.2.0`);
  }
  const signature = signModule({ name, version, bytes }, privateKey);
  const signatureFile = `${file}.sig`;
  await writeFile(signatureFile, signature);
  const [, keyId] = signature.split(" ");
  const facts = { name, version, digest: digestOf(bytes), key_id: keyId, file: signatureFile };
  output.result(
    facts,
    () => `signed ${name}@${version}, ${facts.digest}, with key ${keyId}
wrote ${signatureFile}
push both: sallyport plugin push ${file}${name === manifest?.name ? "" : ` --name ${name}`}${
      version === manifest?.version ? "" : ` --as ${version}`
    }`,
  );
  return EXIT.ok;
}

async function readPrivateKey(file: string): Promise<KeyObject> {
  const pem = await readModule(file);
  const { mode } = await stat(file);
  if ((mode & 0o077) !== 0) {
    const shown = (mode & 0o777).toString(8);
    throw new CliError(`${file} is open to others (mode ${shown}); chmod 600 ${file}`);
  }
  let key: KeyObject | null = null;
  try {
    key = createPrivateKey(Buffer.from(pem));
  } catch {
    // Said below, without a word of what it holds.
  }
  if (key?.asymmetricKeyType === "ed25519") return key;
  throw new CliError(`${file} is no private key of Ed25519; sallyport plugin keygen makes one`);
}

async function writeNew(file: string, content: string | Buffer, mode: number): Promise<void> {
  try {
    await using handle = await open(file, "wx", mode);
    await handle.writeFile(content);
    await handle.sync();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
    const why = code === "EEXIST" ? "is there already; another --out, or move it away" : code;
    throw new CliError(`${file} cannot be written: ${why}`);
  }
}

// By the rules of the configuration, so that what is made can be added.
function checkEntry(entry: { readonly name: string; readonly key: string }): void {
  const nowhere = { plugins: null, env: {}, baseDir: ".", readFile: () => "" };
  const checked = checkConfigValue({ trusted_plugin_keys: [entry] }, nowhere);
  if (!checked.ok) throw new CliError(`--out: ${checked.faults[0].message}`);
}
