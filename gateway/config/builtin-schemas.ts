// The configuration of each built-in plugin, described as schema.ts describes the rest: what is
// checked, published and documented is one thing.

import Type from "typebox";

const closed = { additionalProperties: false } as const;
const HeaderName = Type.String({
  pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$",
  description: "a header's name",
});
const Text = Type.String({ minLength: 1, maxLength: 8192 });
const Algorithm = Type.Enum([
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
  "HS256",
  "HS384",
  "HS512",
]);

// A public key, or octets `k` that are a secret.
const Jwk = Type.Unsafe<Readonly<Record<string, unknown>>>({
  type: "object",
  properties: { k: { type: "string", minLength: 1, maxLength: 8192, secret: true } },
  patternProperties: { "^.*$": {} },
});

const Key = Type.Object(
  {
    kid: Type.Optional(Text),
    alg: Type.Optional(Algorithm),
    // One of these three; which one fits the algorithm is checked when the key is loaded.
    secret: Type.Optional(Type.String({ minLength: 1, maxLength: 8192, secret: true })),
    public_key: Type.Optional(Type.String({ minLength: 1, maxLength: 65_536 })),
    jwk: Type.Optional(Jwk),
  },
  closed,
);

export const JwtConfigSchema = Type.Object(
  {
    jwks_uri: Type.Optional(
      Type.String({ pattern: "^https?://", maxLength: 2048, description: "an http(s) URL" }),
    ),
    keys: Type.Optional(Type.Array(Key, { minItems: 1, maxItems: 100 })),
    issuer: Type.Optional(Text),
    audience: Type.Optional(Type.Union([Text, Type.Array(Text, { minItems: 1, maxItems: 100 })])),
    algorithms: Type.Optional(Type.Array(Algorithm, { minItems: 1, maxItems: 14 })),
    clock_skew_s: Type.Optional(Type.Integer({ minimum: 0, maximum: 300, default: 30 })),
    header: Type.Optional(HeaderName),
    cookie: Type.Optional(HeaderName),
    required_claims: Type.Optional(Type.Array(Text, { maxItems: 32 })),
    consumer_claim: Type.Optional(Text),
    cache_max: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000, default: 10_000 })),
    jwks_refresh_ms: Type.Optional(
      Type.Integer({ minimum: 1000, maximum: 86_400_000, default: 300_000 }),
    ),
    forward_token: Type.Optional(Type.Boolean({ default: true })),
    claims_to_headers: Type.Optional(Type.Record(Type.String(), HeaderName)),
  },
  closed,
);

export const KeyAuthConfigSchema = Type.Object(
  {
    header: Type.Optional(HeaderName),
    query: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    hide: Type.Optional(Type.Boolean({ default: true })),
  },
  closed,
);

export const RateLimitConfigSchema = Type.Object(
  {
    limit: Type.Integer({ minimum: 1, maximum: 1_000_000_000 }),
    window_ms: Type.Integer({ minimum: 100, maximum: 86_400_000 }),
    by: Type.Optional(Type.Enum(["consumer", "ip", "header", "route"])),
    header: Type.Optional(HeaderName),
    burst: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000_000 })),
    entries_max: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000_000, default: 100_000 })),
  },
  closed,
);

export const CorsConfigSchema = Type.Object(
  {
    origins: Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
      minItems: 1,
      maxItems: 1000,
    }),
    methods: Type.Optional(Type.Array(Type.String({ pattern: "^[A-Z][A-Z-]{0,31}$" }))),
    headers: Type.Optional(Type.Array(HeaderName, { maxItems: 100 })),
    expose_headers: Type.Optional(Type.Array(HeaderName, { maxItems: 100 })),
    credentials: Type.Optional(Type.Boolean({ default: false })),
    max_age_s: Type.Optional(Type.Integer({ minimum: 0, maximum: 86_400 })),
  },
  closed,
);

/** Schema of each built-in plugin's configuration, by the plugin's name. */
export const BUILTIN_SCHEMAS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ["jwt", JwtConfigSchema],
  ["key-auth", KeyAuthConfigSchema],
  ["rate-limit", RateLimitConfigSchema],
  ["cors", CorsConfigSchema],
]);
