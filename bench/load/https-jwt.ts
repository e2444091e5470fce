// HTTPS with tokens, 1,000 of them in rotation. The gateway remembers tokens that it has verified, so
// it runs a second time without that memory: as if every request brought a new one.

import { gateway } from "../peers/gateway.ts";
import { SMALL_REPLY, gatewayAndPeers } from "./scenario.ts";
import type { Scenario } from "./scenario.ts";

export const httpsJwt: Scenario = {
  name: "https-jwt",
  about: "HTTPS, GET, a reply of 200 bytes, JWT RS256, 1,000 tokens in rotation",
  traffic: { ...SMALL_REPLY, tokens: true },
  contenders: ({ tls, jwt }) => [
    ...gatewayAndPeers({ tls, jwt, wasm: null }),
    {
      label: "gateway, no token cache",
      role: "subject",
      peer: gateway,
      work: { tls, jwt: { ...jwt, mayCache: false }, wasm: null },
    },
  ],
};
