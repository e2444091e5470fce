// What a WebAssembly plugin adds: the gateway with each example against itself without one.

import { gateway } from "../peers/gateway.ts";
import { SMALL_REPLY } from "./scenario.ts";
import type { Contender, Scenario } from "./scenario.ts";

export const plugin: Scenario = {
  name: "plugin",
  about: "HTTP, GET, a reply of 200 bytes, one WebAssembly plugin",
  traffic: SMALL_REPLY,
  contenders: ({ plugins }) => {
    const work = { tls: null, jwt: null, wasm: null };
    const bare: Contender = { label: "gateway", role: "baseline", peer: gateway, work };
    const extended = plugins.map((wasm): Contender => ({
      label: `gateway + ${wasm.name}`,
      role: "subject",
      peer: gateway,
      work: { ...work, wasm },
    }));
    return [bare, ...extended];
  },
};
