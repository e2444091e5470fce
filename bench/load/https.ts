// HTTPS with a small reply, on connections that are kept: encryption, and few handshakes.

import { SMALL_REPLY, gatewayAndPeers } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";

export const https: Scenario = {
  name: "https",
  about: "HTTPS, GET, a reply of 200 bytes",
  traffic: SMALL_REPLY,
  contenders: ({ tls }) => gatewayAndPeers({ tls, jwt: null, wasm: null }),
};
