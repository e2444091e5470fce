// Verification keys. A key is bound to one algorithm when it is loaded, and its type must fit that
// algorithm: a token only chooses among (key, algorithm) pairs that exist, so that no public key
// can ever be taken for an HMAC secret, and `none` fits no key (RFC 8725, 3.1 and 3.2).

import {
  constants,
  createHmac,
  createPublicKey,
  createSecretKey,
  timingSafeEqual,
  verify,
} from "node:crypto";
import type { KeyObject, VerifyKeyObjectInput, webcrypto } from "node:crypto";

/** One key for one algorithm. */
export type VerificationKey = {
  readonly kid: string | null;
  readonly alg: string;
  /** True when the signature is this key's over these bytes; never throws. */
  verifies(signed: Buffer, signature: Buffer): boolean;
};

/** A configured key: exactly one of secret, public_key (PEM) and jwk. */
export type KeyConfig = {
  readonly kid?: string;
  readonly alg?: string;
  readonly secret?: string;
  readonly public_key?: string;
  readonly jwk?: Readonly<Record<string, unknown>>;
};

type Algorithm = {
  readonly type: "secret" | "rsa" | "ec" | "ed25519";
  /** OpenSSL's name of the hash; null where the algorithm has its own. */
  readonly hash: string | null;
  /** How signatures are made, for node:crypto. */
  readonly form?: Omit<VerifyKeyObjectInput, "key">;
  /** Secret: octets at least (RFC 7518, 3.2). */
  readonly bytesMin?: number;
  /** EC: OpenSSL's name of the curve. */
  readonly curve?: string;
};

const hmac = (bits: number): Algorithm => ({
  type: "secret",
  hash: `sha${bits}`,
  bytesMin: bits / 8,
});
const rsa = (bits: number): Algorithm => ({ type: "rsa", hash: `sha${bits}` });
const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
};
const rsaPss = (bits: number): Algorithm => ({ type: "rsa", hash: `sha${bits}`, form: PSS });
// JWS concatenates r and s (RFC 7518, 3.4) where OpenSSL would have DER.
const ecdsa = (bits: number, curve: string): Algorithm => ({
  type: "ec",
  hash: `sha${bits}`,
  form: { dsaEncoding: "ieee-p1363" },
  curve,
});
const eddsa: Algorithm = { type: "ed25519", hash: null };

const ALGORITHMS: ReadonlyMap<string, Algorithm> = new Map([
  ["HS256", hmac(256)],
  ["HS384", hmac(384)],
  ["HS512", hmac(512)],
  ["RS256", rsa(256)],
  ["RS384", rsa(384)],
  ["RS512", rsa(512)],
  ["PS256", rsaPss(256)],
  ["PS384", rsaPss(384)],
  ["PS512", rsaPss(512)],
  ["ES256", ecdsa(256, "prime256v1")],
  ["ES384", ecdsa(384, "secp384r1")],
  ["ES512", ecdsa(512, "secp521r1")],
  ["EdDSA", eddsa],
  ["Ed25519", eddsa],
]);

// For a key that does not name its algorithm, where the configuration names none either.
const ALGORITHMS_DEFAULT = ["HS256", "RS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
const RSA_BITS_MIN = 2048;
const RSA_BITS_MAX = 8192; // A check costs time in proportion to the square of it.
const JWKS_KEYS_MAX = 100;
// Keys with the same kid, or a token without one: each further try is a signature check.
const TRIED_MAX = 4;

/** The keys of one generation; never changed once built. */
export class KeySet {
  readonly #keys: readonly VerificationKey[];

  constructor(keys: readonly VerificationKey[]) {
    this.#keys = keys;
  }

  get size(): number {
    return this.#keys.length;
  }

  /** True when some key has this id, for whatever algorithm. */
  hasKid(kid: string): boolean {
    return this.#keys.some((key) => key.kid === kid);
  }

  /**
   * The keys that may have signed a token, at most four. A key without an id fits every token of
   * its algorithm; a token without an id fits every key.
   */
  select(alg: string, kid: string | null): readonly VerificationKey[] {
    const fitting = this.#keys.filter(
      (key) => key.alg === alg && (kid === null || key.kid === null || key.kid === kid),
    );
    return fitting.slice(0, TRIED_MAX);
  }
}

/** Loads configured keys. Throws an Error that says which key is wrong and why. */
export function loadKeys(
  keys: readonly KeyConfig[],
  algorithms: readonly string[] | undefined,
): KeySet {
  const loaded = keys.flatMap((config, index) => {
    try {
      const kid = config.kid ?? (typeof config.jwk?.kid === "string" ? config.jwk.kid : null);
      const alg = config.alg ?? (typeof config.jwk?.alg === "string" ? config.jwk.alg : null);
      return bindKey(keyObjectOf(config), { kid, alg, algorithms });
    } catch (cause) {
      throw new Error(`keys[${index}]: ${(cause as Error).message}`, { cause });
    }
  });
  return new KeySet(loaded);
}

/** Keys of a JWK set's text, and how many of its members were passed over as unusable. */
export type JwksKeys = { readonly keys: KeySet; readonly skipped: number };

/**
 * Reads a JWK set (RFC 7517, 5). Members that are symmetric, private, for encryption, too weak or
 * of an unknown kind are passed over. Throws when the text is no JWK set or has over 100 members.
 */
export function readJwks(text: string, algorithms: readonly string[] | undefined): JwksKeys {
  const set: unknown = JSON.parse(text);
  const members: unknown =
    typeof set === "object" && set !== null && "keys" in set ? set.keys : undefined;
  if (!Array.isArray(members)) throw new Error("not a JWK set: no array of keys");
  if (members.length > JWKS_KEYS_MAX) throw new Error(`more than ${JWKS_KEYS_MAX} keys`);
  const keys: VerificationKey[] = [];
  let skipped = 0;
  for (const jwk of members) {
    try {
      if (typeof jwk !== "object" || jwk === null || jwk.kty === "oct" || "d" in jwk) {
        throw new Error("not a public key");
      }
      const kid = typeof jwk.kid === "string" ? jwk.kid : null;
      const alg = typeof jwk.alg === "string" ? jwk.alg : null;
      keys.push(...bindKey(publicKeyOfJwk(jwk), { kid, alg, algorithms }));
    } catch {
      skipped++;
    }
  }
  return { keys: new KeySet(keys), skipped };
}

function keyObjectOf(config: KeyConfig): KeyObject {
  const given = [config.secret, config.public_key, config.jwk].filter((one) => one !== undefined);
  if (given.length !== 1) throw new Error("give exactly one of secret, public_key and jwk");
  if (config.secret !== undefined) return createSecretKey(config.secret, "utf8");
  if (config.public_key !== undefined) {
    if (config.public_key.includes("PRIVATE KEY")) throw new Error("public_key is a private key");
    return createPublicKey(config.public_key);
  }
  const jwk = config.jwk as Readonly<Record<string, unknown>>;
  if (jwk.kty !== "oct") return publicKeyOfJwk(jwk);
  if (typeof jwk.k !== "string") throw new Error("jwk of type oct without k");
  return createSecretKey(jwk.k, "base64url");
}

function publicKeyOfJwk(jwk: Readonly<Record<string, unknown>>): KeyObject {
  if (jwk.use !== undefined && jwk.use !== "sig") throw new Error("jwk is not for signatures");
  if (jwk.key_ops !== undefined && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes("verify")))
    throw new Error("jwk is not for verification");
  if (jwk.d !== undefined) throw new Error("jwk is a private key");
  return createPublicKey({ key: jwk as webcrypto.JsonWebKey, format: "jwk" });
}

type Binding = {
  kid: string | null;
  alg: string | null;
  algorithms: readonly string[] | undefined;
};

// One entry for each algorithm that the key may be used with: its own, or else those configured.
function bindKey(key: KeyObject, { kid, alg, algorithms }: Binding): VerificationKey[] {
  const wanted = alg === null ? (algorithms ?? ALGORITHMS_DEFAULT) : [alg];
  const permitted =
    algorithms === undefined ? wanted : wanted.filter((a) => algorithms.includes(a));
  const keys: VerificationKey[] = [];
  let fault = "no permitted algorithm fits this kind of key";
  for (const name of permitted) {
    const algorithm = ALGORITHMS.get(name);
    if (algorithm === undefined) throw new Error(`unknown algorithm ${name}`);
    const misfit = misfitOf(key, algorithm);
    if (misfit === null) {
      keys.push({ kid, alg: name, verifies: verifierOf(key, algorithm) });
    } else if (misfit !== "another kind of key") {
      fault = `${name}: ${misfit}`;
    }
  }
  if (keys.length === 0) throw new Error(fault);
  return keys;
}

// Synchronous: a look-up in the thread pool costs more than the check, and the core is the same one
// (RS256 25 us against 50 with WebCrypto; bench: jwt).
function verifierOf(key: KeyObject, { hash, form, type }: Algorithm): VerificationKey["verifies"] {
  if (type === "secret") {
    return (signed, signature) => {
      const expected = createHmac(hash ?? "", key)
        .update(signed)
        .digest();
      return expected.length === signature.length && timingSafeEqual(expected, signature);
    };
  }
  const input = { key, ...form };
  return (signed, signature) => {
    try {
      return verify(hash, signed, input, signature);
    } catch {
      // OpenSSL throws for some signatures that are none, such as one of another length.
      return false;
    }
  };
}

function misfitOf(key: KeyObject, algorithm: Algorithm): string | null {
  const type = key.type === "secret" ? "secret" : key.asymmetricKeyType;
  if (type !== algorithm.type) return "another kind of key";
  if (type === "secret") {
    const bytesMin = algorithm.bytesMin ?? 0;
    const isLong = (key.symmetricKeySize ?? 0) >= bytesMin;
    return isLong ? null : `the secret is shorter than ${bytesMin} bytes`;
  }
  const details = key.asymmetricKeyDetails;
  if (type === "rsa") {
    const bits = details?.modulusLength ?? 0;
    const isFit = bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
    return isFit ? null : `the modulus has ${bits} bits, not ${RSA_BITS_MIN} to ${RSA_BITS_MAX}`;
  }
  return type !== "ec" || details?.namedCurve === algorithm.curve ? null : "another kind of key";
}
