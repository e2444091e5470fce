// The manifest rides in the module, as a custom section, so that the bare .wasm is enough to upload.

const MANIFEST_SECTION = "sallyport";

/** The module with a manifest, given as the text of a plugin.json, behind it. */
export function withManifestText(wasm: Uint8Array, json: string): Uint8Array {
  const name = Buffer.from(MANIFEST_SECTION);
  const manifest = Buffer.from(JSON.stringify(JSON.parse(json)));
  const content = Buffer.concat([leb(name.length), name, manifest]);
  return Buffer.concat([wasm, Buffer.from([0]), leb(content.length), content]);
}

function leb(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ;) {
    const low = left & 0x7f;
    left >>>= 7;
    bytes.push(left === 0 ? low : low | 0x80);
    if (left === 0) return Buffer.from(bytes);
  }
}
