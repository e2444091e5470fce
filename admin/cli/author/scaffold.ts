// The files of a new plugin: one that refuses requests without a header of the configured value.

import { join, relative } from "node:path";
import type { Language } from "./project.ts";

const ROOT = join(import.meta.dirname, "../../..");

/** File names with their texts. `folder` is where they will be. */
export function scaffold(name: string, language: Language, folder: string): Map<string, string> {
  const manifest = {
    name,
    version: "0.1.0",
    abi: 1,
    input: "lazy",
    description: "Lets pass who has the right x-tier header.",
  };
  const files = new Map([
    ["plugin.json", json(manifest)],
    ["cases/allow.json", json(ALLOW)],
    ["cases/deny.json", json(DENY)],
    ["README.md", readme(name)],
  ]);
  if (language === "rust") return files.set("plugin.rs", RUST_SOURCE);
  return files.set("index.ts", AS_SOURCE).set("tsconfig.json", json(tsconfig(folder)));
}

const ALLOW = {
  request: { headers: { "x-tier": "gold" } },
  expect: { action: "continue", request_headers: { "x-tier-checked": "gold" } },
};

const DENY = {
  request: { headers: { "x-tier": "tin" } },
  config: { tier: "silver" },
  expect: { action: "respond", status: 403, reason: "another tier" },
};

const AS_SOURCE = `import { Decision, Policy, Request, Table, checkConfig, decideRequest } from "sallyport";

class Tier extends Policy {
  wanted: string;

  constructor(config: Table) {
    super();
    this.wanted = config.at("tier").text("gold");
  }

  onRequest(): Decision {
    if (Request.header("x-tier") == this.wanted) {
      return Decision.pass().setRequestHeader("x-tier-checked", this.wanted);
    }
    return Decision.deny(403, "Not for you.\\n").because("another tier");
  }
}

export function on_config(): i32 { return checkConfig<Tier>(); }
export function on_request(): i32 { return decideRequest<Tier>(); }
`;

const RUST_SOURCE = `use sallyport::{export, Decision, Policy, Request, Table};

struct Tier {
    wanted: String,
}

impl Policy for Tier {
    fn new(config: &Table) -> Self {
        Tier {
            wanted: config.at("tier").text("gold"),
        }
    }

    fn on_request(&self, request: &Request) -> Decision {
        match request.header("x-tier") {
            Some(tier) if tier == self.wanted => {
                Decision::pass().set_request_header("x-tier-checked", &tier)
            }
            _ => Decision::deny(403, "Not for you.\\n").because("another tier"),
        }
    }
}

export!(Tier: on_request);
`;

function readme(name: string): string {
  return `# ${name}

Lets a request pass when its \`x-tier\` header has the configured value.

| config | meaning                    |
| ------ | -------------------------- |
| \`tier\` | the value; \`gold\` if unset |

\`\`\`sh
sallyport plugin test                                # builds and runs cases/*.json
sallyport plugin push ${name}.wasm --attach ROUTE
sallyport plugin dev . --route ROUTE                 # both, at every save
\`\`\`
`;
}

// For editors only: the compiler is asc. Paths, since a plugin needs no node_modules of its own.
function tsconfig(folder: string): object {
  const from = (path: string) => {
    const found = relative(folder, join(ROOT, path)).replaceAll("\\", "/");
    return found.startsWith(".") ? found : `./${found}`;
  };
  return {
    extends: from("node_modules/assemblyscript/std/assembly.json"),
    compilerOptions: { paths: { sallyport: [from("plugins-src/assemblyscript/sdk/index.ts")] } },
    include: ["./**/*.ts"],
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
