// Bodies of 1 MiB, one way and the other: what passing bytes on costs.

import { SMALL_REPLY, gatewayAndPeers } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";

const MIB = 2 ** 20;
const PLAIN = { tls: null, jwt: null, wasm: null };

export const download: Scenario = {
  name: "download-1m",
  about: "HTTP, GET, a reply of 1 MiB",
  traffic: { ...SMALL_REPLY, replyBytes: MIB },
  contenders: () => gatewayAndPeers(PLAIN),
};

export const upload: Scenario = {
  name: "upload-1m",
  about: "HTTP, POST of 1 MiB, a reply of 200 bytes",
  traffic: { ...SMALL_REPLY, method: "POST", bodyBytes: MIB },
  contenders: () => gatewayAndPeers(PLAIN),
};
