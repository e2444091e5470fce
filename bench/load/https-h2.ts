// HTTP/2 over TLS from the client, HTTP/1.1 to the origin: what streams cost.

import { SMALL_REPLY, gatewayAndPeers } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";

export const httpsH2: Scenario = {
  name: "https-h2",
  about: "HTTPS, HTTP/2, 10 streams a connection, GET, a reply of 200 bytes",
  traffic: { ...SMALL_REPLY, streams: 10 },
  contenders: ({ tls }) => gatewayAndPeers({ tls, jwt: null, wasm: null }),
};
