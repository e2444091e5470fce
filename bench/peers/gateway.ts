// Sallyport itself: a primary and one worker, both of them counted. Metrics are on, as always; there
// is no access log.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AttachmentConfig, Config } from "../../gateway/config/schema.ts";
import { versionLine } from "../load/children.ts";
import { HOST, PREFIX } from "./peer.ts";
import type { Peer, Setup } from "./peer.ts";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "gateway/main.ts");

export const gateway: Peer = {
  name: "gateway",
  find: () => (existsSync(MAIN) ? process.execPath : null),
  version: (program) => `sallyport ${versionLine(program, [MAIN, "--version"])}`,
  lacks: () => null,
  readyUrl: ({ adminPort }) => `http://127.0.0.1:${adminPort}/readyz`,
  command: (setup) => ({
    files: { "sallyport.json": JSON.stringify(gatewayConfig(setup), null, 2) },
    args: [
      ...[MAIN, "run", "-c", "sallyport.json", "--data-dir", "data", "--workers", "1"],
      ...(setup.wasm === null ? [] : ["--plugin", `${setup.wasm.name}=${setup.wasm.file}`]),
    ],
    // As the command sets it: without, each process holds the type stripper, 32 MB of it.
    env: { NODE_COMPILE_CACHE: join(ROOT, "node_modules/.cache/sallyport") },
  }),
};

export function gatewayConfig(setup: Setup): Config {
  const { port, adminPort, originPort, tls } = setup;
  const certificates = tls === null ? [] : [{ cert_file: tls.certFile, key_file: tls.keyFile }];
  return {
    admin: { listen: `127.0.0.1:${adminPort}` },
    listeners: [
      {
        name: "load",
        address: `127.0.0.1:${port}`,
        ...(tls === null ? {} : { tls: { certificates } }),
      },
    ],
    upstreams: [{ name: "origin", targets: [{ address: `127.0.0.1:${originPort}` }] }],
    routes: [
      {
        name: "api",
        match: { hosts: [HOST], paths: [{ prefix: PREFIX }] },
        plugins: pluginsOf(setup),
        upstream: "origin",
      },
    ],
  };
}

function pluginsOf({ jwt, wasm }: Setup): AttachmentConfig[] {
  const plugins: AttachmentConfig[] = [];
  if (jwt !== null) {
    const { publicKeyFile, issuer, audience, mayCache } = jwt;
    const keys = [{ alg: "RS256", public_key: readFileSync(publicKeyFile, "utf8") }];
    const cache = mayCache ? {} : { cache_max: 0 };
    plugins.push({ plugin: "jwt", config: { keys, issuer, audience, ...cache } });
  }
  if (wasm !== null) plugins.push({ plugin: wasm.name, config: wasm.config });
  return plugins;
}
