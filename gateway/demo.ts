// The demonstration: a configuration and plugins that come with the package, and three commands that
// show what the gateway does. What is printed works as it is printed, so the tests run it.

import { relative, resolve } from "node:path";
import type { AdminServer } from "../admin/api/server.ts";
import type { Seed } from "./cluster/primary.ts";
import type { Primary } from "./cluster/primary.ts";
import { VERSION } from "./version.ts";

const ROOT = resolve(import.meta.dirname, "..");

export type DemoSettings = {
  readonly config: string;
  readonly dataDir: string;
  readonly seeds: readonly Seed[];
};

/** Where the demonstration's files are; its state goes to `var/` of the current folder. */
export function demoSettings(): DemoSettings {
  const hello = resolve(ROOT, "plugins-src/build/hello.wasm");
  return {
    config: resolve(ROOT, "admin/deploy/demo.yaml"),
    dataDir: "var",
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
  const module = relative(process.cwd(), resolve(ROOT, "plugins-src/build/header-guard.wasm"));
  const upload = `curl -sf -H 'X-API-KEY: ${admin.key}' --data-binary @${module} 'http://${admin.address}/admin/plugins/load?name=gate'`;
  return `
sallyport ${VERSION} is ready

  http   http://${http}
  https  https://${addresses.get("https") ?? ""}   (self-signed: curl -k)
  admin  http://${admin.address}   key ${admin.key}

Try it:

  1  a plugin greets in a header, and a rate limit counts
     curl -si http://${http}/hello

  2  a plugin in Rust refuses a path
     curl -si http://${http}/private/plans

  3  upload a plugin: the gate, open until now, refuses from here on
     ${upload} && curl -si http://${http}/gate

Configuration: ${relative(process.cwd(), demoSettings().config)}, state: ${relative(process.cwd(), primary.dataDir)}/. Ctrl-C stops it.
`;
}
