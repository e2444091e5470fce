// The few types of DER (X.690) that certificates are written in. Writes only: what is read goes to
// node:crypto.

/** SEQUENCE of encoded parts. */
export function sequence(...parts: Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

/** SET of encoded parts. */
export function set(...parts: Buffer[]): Buffer {
  return tagged(0x31, Buffer.concat(parts));
}

/** OBJECT IDENTIFIER, from its dotted form. */
export function oid(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const number of rest) {
    const groups = [number & 0x7f];
    for (let left = number >>> 7; left > 0; left >>>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tagged(0x06, Buffer.from(bytes));
}

/** UTCTime: years 1950 to 2049. */
export function utcTime(atMs: number): Buffer {
  const digits = new Date(atMs).toISOString().replace(/\D/g, "");
  return tagged(0x17, Buffer.from(`${digits.slice(2, 14)}Z`));
}

/** Any type by its tag; content of less than 64 KiB. */
export function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content;
  let header = [tag, length];
  if (length > 255) header = [tag, 0x82, length >>> 8, length & 0xff];
  else if (length > 127) header = [tag, 0x81, length];
  return Buffer.concat([Buffer.from(header), content]);
}

/** A certificate as PEM text. */
export function certificatePem(der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
