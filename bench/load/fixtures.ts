// Certificate, keys, tokens and modules of a run, made anew in its directory.

import { generateKeyPairSync } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SignJWT } from "jose";
import { selfSignedCertificate } from "../../gateway/cluster/self-signed.ts";
import type { WasmSettings } from "../peers/peer.ts";
import type { Fixtures } from "./scenario.ts";

const ROOT = join(import.meta.dirname, "../..");
const TOKENS = 1_000;
const ISSUER = "https://id.example.com";
const AUDIENCE = "bench";
/** The example plugins, whether they are built or not. */
export const PLUGINS: readonly WasmSettings[] = [
  {
    name: "hello",
    file: join(ROOT, "plugins-src/build/hello.wasm"),
    config: {},
    proof: { path: "orders", status: 200, header: "x-hello" },
  },
  {
    name: "path-guard",
    file: join(ROOT, "plugins-src/prebuilt/path-guard.wasm"),
    config: { deny: ["/api/private"] },
    proof: { path: "private/plans", status: 403 },
  },
];

export async function makeFixtures(directory: string): Promise<Fixtures> {
  await selfSignedCertificate(directory);
  const tls = join(directory, "tls");
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const publicKeyFile = join(directory, "jwt.pem");
  writeFileSync(publicKeyFile, publicKey.export({ type: "spki", format: "pem" }));
  const tokens = Array.from({ length: TOKENS }, (_, i) =>
    new SignJWT({ sub: `user-${i}`, scope: "orders:read orders:write" })
      .setProtectedHeader({ alg: "RS256" })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setIssuedAt()
      .setExpirationTime("1d")
      .sign(privateKey),
  );
  const tokensFile = join(directory, "tokens");
  writeFileSync(tokensFile, (await Promise.all(tokens)).join("\n"));
  return {
    tls: { certFile: join(tls, "self-signed.crt"), keyFile: join(tls, "self-signed.key") },
    jwt: { publicKeyFile, issuer: ISSUER, audience: AUDIENCE, mayCache: true },
    tokensFile,
    plugins: PLUGINS.filter(({ file }) => existsSync(file)),
  };
}
