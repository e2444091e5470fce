// Caddy with one thread for its code. Without plugins of others it verifies no tokens.

import { findProgram, versionLine } from "../load/children.ts";
import { HOST, IDLE_SOCKETS, PREFIX } from "./peer.ts";
import type { Peer, Setup } from "./peer.ts";

export const caddy: Peer = {
  name: "caddy",
  find: () => findProgram("caddy"),
  version: (program) => `caddy ${versionLine(program, ["version"])}`,
  lacks: ({ jwt, wasm }) => (wasm !== null ? "no Wasm" : jwt !== null ? "no JWT" : null),
  command: (setup) => ({
    files: { Caddyfile: configOf(setup) },
    args: ["run", "--config", "Caddyfile", "--adapter", "caddyfile"],
    env: { GOMAXPROCS: "1", HOME: setup.directory, XDG_DATA_HOME: "", XDG_CONFIG_HOME: "" },
  }),
};

// Its own default keeps 32 sockets to an origin: half of the connections would open one each time. A
// host that no site has would be answered with 200.
function configOf({ port, originPort, tls }: Setup): string {
  const scheme = tls === null ? "http" : "https";
  const certificate = tls === null ? "" : `tls ${tls.certFile} ${tls.keyFile}`;
  return `
{
  admin off
  auto_https off
  servers {
    protocols h1 h2
  }
}
${scheme}://${HOST}:${port} {
  bind 127.0.0.1
  ${certificate}
  handle ${PREFIX}* {
    reverse_proxy 127.0.0.1:${originPort} {
      transport http {
        keepalive_idle_conns_per_host ${IDLE_SOCKETS}
      }
    }
  }
  handle {
    respond 404
  }
}
${scheme}://:${port} {
  bind 127.0.0.1
  ${certificate}
  respond 404
}
`;
}
