// The demonstration: a configuration and plugins that come with the package, and three commands that
// show what the gateway does. What is printed works as it is printed, so the tests run it.

import { relative, resolve } from "node:path";
import type { AdminServer } from "../../admin/api/server.ts";
import type { RunOptions } from "../../admin/cli/main.ts";
import type { Seed } from "../cluster/primary.ts";
import type { Primary } from "../cluster/primary.ts";
import { VERSION } from "./version.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const DEMO_CONFIG = resolve(ROOT, "admin/deploy/demo.yaml");

export type DemoSettings = {
  readonly config: string;
  readonly dataDir: string;
  readonly seeds: readonly Seed[];
};

/** The demonstration's files, unless others are named; its state goes to `var/` of this folder. */
export function demoSettings(named: Pick<RunOptions, "config" | "dataDir">): DemoSettings {
  const hello = resolve(ROOT, "plugins-src/build/hello.wasm");
  return {
    config: named.config ?? DEMO_CONFIG,
    dataDir: named.dataDir ?? "var",
    seeds: [
      { name: "hello", file: hello },
      { name: "path-guard", file: resolve(ROOT, "plugins-src/prebuilt/path-guard.wasm") },
      // The gate stands open until another module is uploaded under its name.
      { name: "gate", file: hello },
    ],
  };
}

/** What the demonstration prints once it serves. */
export function demoText(primary: Primary, admin: AdminServer): string {
  const addresses = new Map(
    primary.control.addresses.map(({ name, address }) => [name, address] as const),
  );
  const http = addresses.get("http") ?? "";
  const module = here(resolve(ROOT, "plugins-src/build/header-guard.wasm"));
  const upload = `curl -sf -H 'X-API-KEY: ${admin.key}' --data-binary @${module} 'http://${admin.address}/admin/plugins/load?name=gate'`;
  return `
sallyport ${VERSION} is ready

  http   http://${http}
  https  https://${addresses.get("https") ?? ""}   (self-signed: curl -k)
  admin  http://${admin.address}   key ${admin.key}

Try it:

  1  a plugin greets in a header
     curl -si http://${http}/hello

  2  seven requests meet a limit of five
     curl -s -o /dev/null -w '%{http_code} ' 'http://${http}/hello?n=[1-7]'

  3  upload a plugin: the gate, open until now, refuses from here on
     ${upload} && curl -si http://${http}/gate

Configuration: ${here(primary.configFile)}, state: ${here(primary.dataDir)}/. Ctrl-C stops it.
`;
}

// As a command typed in this folder would name it.
function here(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith("..") ? path : near;
}
