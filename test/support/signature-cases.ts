// Uploads that a gateway must refuse, each with its code: everything that can be wrong with a signature, its
// key, its bytes and what it is for. Made anew for each run, of keys that the gateway trusts and others.

import { sign } from "node:crypto";
import { signModule } from "../../sandbox/sandbox.ts";
import {
  cosignPair,
  manifestPlugin,
  minisignPair,
  namelessPlugin,
  sallyportPair,
} from "./signed-plugin.ts";

export type Keys = ReturnType<typeof makeKeys>;

/** Uploaded as authz 1.3.0 by the query, unless the case says otherwise. */
export type TamperCase = {
  readonly what: string;
  readonly code: string;
  /** The header; null sends none. */
  readonly header: string | null;
  readonly bytes?: Uint8Array;
  readonly query?: string;
};

export const NAME = "authz";
export const NEXT = "1.3.0";
export const MODULE = manifestPlugin(NAME, NEXT);
const OTHER = manifestPlugin(NAME, NEXT, "another module");
const NAMELESS = namelessPlugin();

/** The keys that the gateway trusts. */
export function makeKeys() {
  return { release: sallyportPair(), laptop: minisignPair(), pipeline: cosignPair() };
}

/** Them as the configuration has them. */
export function trustedKeys({ release, laptop, pipeline }: Keys) {
  return [
    { name: "release", key: release.key },
    { name: "laptop", key: laptop.key },
    { name: "pipeline", key: pipeline.key },
  ];
}

export function base64(text: string | Uint8Array): string {
  return Buffer.from(text).toString("base64");
}

/** A line of ours. */
export function line(keys: Keys, version = NEXT, bytes = MODULE, name = NAME): string {
  return signModule({ name, version, bytes }, keys.release.privateKey).trimEnd();
}

export function tamperCases(keys: Keys): TamperCase[] {
  return [...badForms(keys), ...badKeys(keys), ...badBytes(keys), ...badBindings(keys)];
}

function badForms(keys: Keys): TamperCase[] {
  const good = line(keys);
  const mini = keys.laptop.sign(MODULE);
  const der = Buffer.from(keys.pipeline.sign(MODULE), "base64");
  const malformed = (what: string, header: string): TamperCase => ({
    what,
    header,
    code: "signature_malformed",
  });
  return [
    { what: "no signature", header: null, code: "signature_missing" },
    malformed("an empty header", ""),
    malformed("no base64", "*"),
    malformed("base64 of nothing known", base64("hello")),
    malformed("base64 without its padding", base64(`${good}\n`).replace(/=+$/, "")),
    malformed(
      "base64 for URLs",
      base64(mini).replaceAll("+", "-").replaceAll("/", "_").replace(/^/, "_"),
    ),
    malformed("base64 twice", base64(base64(good))),
    malformed("a version of our format that is not there yet", good.replace("-v1", "-v2")),
    malformed("a field too many", `${good} x`),
    malformed("two spaces", good.replace(" ", "  ")),
    malformed(
      "bits that are left over",
      good.replace(/.==$/, (end) => (end === "x==" ? "y==" : "x==")),
    ),
    malformed("CR LF", base64(mini.replaceAll("\n", "\r\n"))),
    malformed("two signatures in one file", base64(`${good}\n${good}\n`)),
    malformed("a NUL", base64(`${good}\0`)),
    malformed("a byte order mark", base64(`\ufeff${good}`)),
    malformed("no UTF-8", base64(Buffer.from([0xff, 0xfe, 0x41]))),
    malformed("three lines of minisign", base64(mini.split("\n").slice(0, 3).join("\n"))),
    malformed("a minisign of another kind", base64(keys.laptop.sign(MODULE, { algorithm: "XX" }))),
    malformed("DER with something behind", base64(Buffer.concat([der, Buffer.from([0])]))),
    malformed("a bundle of cosign", base64(JSON.stringify({ base64Signature: base64(der) }))),
    { what: "two headers", header: `${good}, ${good}`, code: "signature_repeated" },
    { what: "a file too large", header: base64("x".repeat(4097)), code: "signature_too_large" },
    {
      what: "minisign's legacy kind",
      header: base64(keys.laptop.sign(MODULE, { algorithm: "Ed" })),
      code: "signature_legacy",
    },
  ];
}

function badKeys(keys: Keys): TamperCase[] {
  const { release, laptop, pipeline } = keys;
  const stranger = makeKeys();
  const unknown = (what: string, header: string): TamperCase => ({
    what,
    header,
    code: "signature_unknown_key",
  });
  const invalid = (what: string, header: string): TamperCase => ({
    what,
    header,
    code: "signature_invalid",
  });
  const [word, id, as, signature] = line(keys).split(" ");
  const byStranger = line(stranger).split(" ");
  return [
    unknown("a stranger's key", line(stranger)),
    unknown("a stranger's minisign key", base64(minisignPair(Buffer.alloc(8, 7)).sign(MODULE))),
    unknown(
      "minisign's key in our format",
      signModule({ name: NAME, version: NEXT, bytes: MODULE }, laptop.privateKey).trimEnd(),
    ),
    unknown(
      "our key in minisign's format",
      base64(withPrivateKey(release.privateKey).sign(MODULE)),
    ),
    invalid("a stranger's P-256 key", base64(stranger.pipeline.sign(MODULE))),
    invalid("a stranger who names a trusted key", [word, id, as, byStranger[3]].join(" ")),
    invalid("a stranger with minisign's number", base64(stranger.laptop.sign(MODULE))),
    invalid("a signature of zeros", [word, id, as, base64(Buffer.alloc(64))].join(" ")),
    invalid("a number raised by the group's order", [word, id, as, raised(signature)].join(" ")),
    invalid(
      "SHA-512 in place of SHA-256",
      base64(base64(sign("sha512", MODULE, pipeline.privateKey))),
    ),
    invalid("minisign over SHA-512", base64(laptop.sign(MODULE, { hash: "sha512" }))),
    invalid(
      "minisign's legacy kind under the new name",
      base64(renamed(laptop.sign(MODULE, { algorithm: "Ed" }))),
    ),
    invalid(
      "the bare bytes signed by our key",
      [word, id, as, base64(sign(null, MODULE, release.privateKey))].join(" "),
    ),
  ];
}

function badBytes(keys: Keys): TamperCase[] {
  const { laptop, pipeline } = keys;
  const invalid = (what: string, header: string, bytes = OTHER): TamperCase => ({
    what,
    header,
    bytes,
    code: "signature_invalid",
  });
  const longer = new Uint8Array([...MODULE, 0, 2, 1, 0x78]);
  return [
    invalid("other bytes under our signature", line(keys)),
    invalid("other bytes under minisign's", base64(laptop.sign(MODULE))),
    invalid(
      "other bytes under minisign's with words",
      base64(laptop.sign(MODULE, { comment: `plugin:${NAME}@${NEXT}` })),
    ),
    invalid("other bytes under cosign's", base64(pipeline.sign(MODULE))),
    invalid("a section added behind", line(keys), longer),
  ];
}

function badBindings(keys: Keys): TamperCase[] {
  const { laptop, pipeline } = keys;
  const words = laptop.sign(MODULE, { comment: `plugin:${NAME}@${NEXT}` });
  const elsewhere = laptop.sign(NAMELESS, { comment: `plugin:${NAME}@9.0.0` });
  const lines = words.split("\n");
  const cases: TamperCase[] = [];
  for (const [what, header] of [
    ["our signature", line(keys)],
    ["minisign's words", base64(words)],
    ["minisign's bytes", base64(laptop.sign(MODULE))],
    ["cosign's bytes", base64(pipeline.sign(MODULE))],
  ]) {
    cases.push({
      what: `${what} under another name`,
      header,
      query: `name=other&version=${NEXT}`,
      code: "signature_wrong_name",
    });
    cases.push({
      what: `${what} as another version`,
      header,
      query: `name=${NAME}&version=9.9.9`,
      code: "signature_wrong_version",
    });
  }
  const code = "signature_comment_invalid";
  const query = `name=${NAME}&version=9.0.0`;
  const nameless = { bytes: NAMELESS, code: "signature_unbound" };
  return [
    ...cases,
    {
      what: "the name in our line changed",
      header: line(keys).replace("authz@", "other@"),
      query: `name=other&version=${NEXT}`,
      code: "signature_invalid",
    },
    {
      what: "the version in our line changed",
      header: line(keys).replace("@1.3.0", "@9.0.0"),
      query,
      code: "signature_invalid",
    },
    {
      what: "the trusted comment changed",
      header: base64(words.replace("@1.3.0", "@9.0.0")),
      query,
      code,
    },
    {
      what: "the trusted comment of another signature",
      header: base64([...lines.slice(0, 2), ...elsewhere.split("\n").slice(2)].join("\n")),
      query,
      code,
    },
    {
      what: "the words taken out of the comment",
      header: base64(words.replace("plugin:", "")),
      code,
    },
    {
      what: "two plugins in the comment",
      header: base64(laptop.sign(MODULE, { comment: "plugin:authz@1.3.0 plugin:other@1.3.0" })),
      code: "signature_malformed",
    },
    {
      what: "minisign of a module without a manifest",
      header: base64(laptop.sign(NAMELESS)),
      ...nameless,
    },
    {
      what: "cosign of a module without a manifest",
      header: base64(pipeline.sign(NAMELESS)),
      ...nameless,
    },
    {
      what: "an older version, well signed",
      header: line(keys, "1.1.0"),
      query: `name=${NAME}&version=1.1.0`,
      code: "version_downgrade",
    },
    {
      what: "an older version, unsigned",
      header: null,
      query: `name=${NAME}&version=1.1.0`,
      code: "signature_missing",
    },
  ];
}

// As if the release's key were minisign's, too.
function withPrivateKey(privateKey: Keys["release"]["privateKey"]) {
  return minisignPair(Buffer.alloc(8, 9), privateKey);
}

// S + L is the same number to whoever does not look whether it is below L.
function raised(signature: string): string {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const bytes = Buffer.from(signature, "base64");
  const s = BigInt(`0x${Buffer.from(bytes.subarray(32)).reverse().toString("hex")}`) + order;
  Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse().copy(bytes, 32);
  return base64(bytes);
}

function renamed(minisig: string): string {
  const lines = minisig.split("\n");
  const bytes = Buffer.from(lines[1], "base64");
  bytes.write("ED", "latin1");
  return [lines[0], base64(bytes), ...lines.slice(2)].join("\n");
}
