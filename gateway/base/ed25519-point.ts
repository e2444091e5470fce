// Whether 32 bytes are a public key of Ed25519 that can be trusted. OpenSSL takes any 32 bytes for one, and
// under a key of small order not every build of it refuses signatures that nobody made. Not in constant
// time: public keys are public.

// The field and the curve -x² + y² = 1 + d x² y² (RFC 8032, 5.1).
const P = 2n ** 255n - 19n;
const D = modulo(-121_665n * power(121_666n, P - 2n));

/** True for the canonical encoding of a point on the curve whose order does not divide eight. */
export function isSoundEd25519Key(bytes: Uint8Array): boolean {
  if (bytes.length !== 32) return false;
  // Little-endian; the top bit is the sign of x.
  const encoded = BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
  const y = BigInt.asUintN(255, encoded);
  if (y >= P) return false;
  // x² is u / v. Of order 4 are the points with y = 0, and of order 8 those whose double has y = 0: where
  // x² = -y².
  const yy = modulo(y * y);
  const u = modulo(yy - 1n);
  const v = modulo(D * yy + 1n);
  if (y === 0n || modulo(u + yy * v) === 0n) return false;
  // There is an x when u / v is a square, and so u v (Euler's criterion). Where x is 0, at order 1 and 2,
  // the power is 0.
  return power(modulo(u * v), (P - 1n) / 2n) === 1n;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (const bit of exponent.toString(2)) {
    result = (result * result) % P;
    if (bit === "1") result = (result * base) % P;
  }
  return result;
}

function modulo(value: bigint): bigint {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}
