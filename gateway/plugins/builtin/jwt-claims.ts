// The claims of a token whose signature was found good: read, and checked against what a route asks for
// (RFC 7519, 4.1; RFC 8725). The rules are jose's, which is the oracle of the tests; its own check took
// 7 us a token, more than all else of it but the signature.

/** A claim's own value: a name such as `constructor` must not reach the prototype. */
export function claimOf(claims: Claims, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined;
}

export type Claims = Readonly<Record<string, unknown>>;

export type ClaimRules = {
  readonly issuer: string | undefined;
  readonly audience: string | readonly string[] | undefined;
  readonly required: readonly string[];
  readonly skewS: number;
};

/** Why a token is not accepted: a sentence for the client, without quotes or backslashes. */
export type Refusal = string;

const MALFORMED = "The token is malformed.";
const UNACCEPTED = "A claim of the token is missing or not accepted.";

/** Reads the payload, a segment in base64url; null when it is no JSON object. */
export function readClaims(payload: string): Claims | null {
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
  } catch {
    return null;
  }
  return typeof claims === "object" && claims !== null && !Array.isArray(claims)
    ? (claims as Claims)
    : null;
}

/** Null when the claims hold now; `wallMs` since the epoch. */
export function refuseClaims(
  claims: Claims | null,
  rules: ClaimRules,
  wallMs: number,
): Refusal | null {
  if (claims === null) return MALFORMED;
  const { issuer, audience, required, skewS } = rules;
  if (issuer !== undefined && claimOf(claims, "iss") !== issuer) {
    return "The issuer of the token is not accepted.";
  }
  if (audience !== undefined && !isFor(claimOf(claims, "aud"), audience)) {
    return "The audience of the token is not accepted.";
  }
  for (const name of required) if (!Object.hasOwn(claims, name)) return UNACCEPTED;
  const iat = claimOf(claims, "iat");
  if (iat !== undefined && typeof iat !== "number") return UNACCEPTED;
  const nowS = Math.floor(wallMs / 1000);
  const nbf = claimOf(claims, "nbf");
  if (nbf !== undefined && typeof nbf !== "number") return UNACCEPTED;
  if (nbf !== undefined && nbf > nowS + skewS) return "The token is not valid yet.";
  const exp = claimOf(claims, "exp");
  if (exp !== undefined && typeof exp !== "number") return UNACCEPTED;
  if (exp !== undefined && exp <= nowS - skewS) return "The token has expired.";
  return null;
}

// One of the audiences of the token is one of those that are accepted.
function isFor(claim: unknown, accepted: string | readonly string[]): boolean {
  const isAccepted = (audience: unknown): boolean =>
    typeof accepted === "string"
      ? audience === accepted
      : accepted.some((each) => each === audience);
  return Array.isArray(claim) ? claim.some(isAccepted) : isAccepted(claim);
}
