// nginx: a master and one worker. Its open edition verifies no tokens.

import { findProgram, versionLine } from "../load/children.ts";
import { HOST, IDLE_SOCKETS, PREFIX } from "./peer.ts";
import type { Peer, Setup } from "./peer.ts";

export const nginx: Peer = {
  name: "nginx",
  find: () => findProgram("nginx"),
  version: (program) => versionLine(program, ["-v"]).replace("nginx version: ", ""),
  lacks: ({ jwt, wasm }) => (wasm !== null ? "no Wasm" : jwt !== null ? "no JWT" : null),
  command: (setup) => ({
    files: { "nginx.conf": configOf(setup) },
    args: ["-p", setup.directory, "-c", "nginx.conf", "-e", "error.log"],
  }),
};

// Bodies are passed on as they come, as the others do. Without keepalive_requests a connection would
// end after 1,000 requests.
function configOf({ port, originPort, tls }: Setup): string {
  const forever = "keepalive_requests 1000000000;";
  return `
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  ${forever}
  upstream origin {
    server 127.0.0.1:${originPort};
    keepalive ${IDLE_SOCKETS};
    ${forever}
  }
  server {
    listen 127.0.0.1:${port} default_server${tls === null ? "" : " ssl http2"};
    ${tls === null ? "" : `ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile};`}
    return 404;
  }
  server {
    listen 127.0.0.1:${port};
    server_name ${HOST};
    ${tls === null ? "" : `ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile};`}
    client_max_body_size 16m;
    location / { return 404; }
    location ${PREFIX} {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`;
}
