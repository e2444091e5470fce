// Plain HTTP with a small reply: what a proxy costs by itself.

import { SMALL_REPLY, gatewayAndPeers } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";

export const plain: Scenario = {
  name: "plain",
  about: "HTTP, GET, a reply of 200 bytes",
  traffic: SMALL_REPLY,
  contenders: () => gatewayAndPeers({ tls: null, jwt: null, wasm: null }),
};
