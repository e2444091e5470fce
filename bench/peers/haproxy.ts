// HAProxy, from 2.5 on, with one thread. It verifies a token at every request; it keeps no results.

import { readFileSync } from "node:fs";
import { findProgram, versionLine } from "../load/children.ts";
import { HOST, PREFIX } from "./peer.ts";
import type { JwtSettings, Peer, Setup } from "./peer.ts";

export const haproxy: Peer = {
  name: "haproxy",
  find: () => findProgram("haproxy"),
  version: (program) => versionLine(program, ["-v"]),
  lacks: ({ wasm }) => (wasm === null ? null : "no Wasm"),
  command: (setup) => ({
    files: { "haproxy.cfg": configOf(setup), ...pemOf(setup) },
    args: ["-db", "-f", "haproxy.cfg"],
  }),
};

// Certificate and key in one file, as HAProxy wants them.
function pemOf({ tls }: Setup): Record<string, string> {
  if (tls === null) return {};
  const { certFile, keyFile } = tls;
  return { "haproxy.pem": readFileSync(certFile, "utf8") + readFileSync(keyFile, "utf8") };
}

function configOf({ port, originPort, tls, jwt }: Setup): string {
  return `
global
  nbthread 1
  maxconn 4096

defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 1s
  timeout client 75s
  timeout server 30s

frontend load
  bind 127.0.0.1:${port}${tls === null ? "" : " ssl crt haproxy.pem alpn h2,http/1.1"}
  http-request set-header X-Forwarded-Proto ${tls === null ? "http" : "https"}
  acl is_host hdr(host) -i ${HOST}
  acl is_path path_beg ${PREFIX}
  http-request return status 404 unless is_host is_path
${jwt === null ? "" : jwtRules(jwt)}
  use_backend origin if is_host is_path

backend origin
  server origin 127.0.0.1:${originPort}
`;
}

// What the gateway's plugin checks too: algorithm, signature, issuer, audience and both times.
function jwtRules({ publicKeyFile, issuer, audience }: JwtSettings): string {
  const deny = "http-request deny deny_status 401";
  return `
  http-request set-var(txn.token) http_auth_bearer
  http-request set-var(txn.alg) var(txn.token),jwt_header_query('$.alg')
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.left) date(),neg,add(txn.exp)
  ${deny} unless { var(txn.alg) -m str RS256 }
  ${deny} unless { var(txn.token),jwt_payload_query('$.iss') -m str ${issuer} }
  ${deny} unless { var(txn.token),jwt_payload_query('$.aud') -m str ${audience} }
  ${deny} unless { var(txn.left) -m int gt 0 }
  ${deny} unless { var(txn.token),jwt_verify(txn.alg,"${publicKeyFile}") -m int 1 }
`;
}
