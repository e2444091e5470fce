// A small policy for the bench: a path, two headers and a claim, then a header. rust/sdk/small.rs is
// the same.

import { Decision, Policy, Request, Table, checkConfig, decideRequest } from "./index";

class Small extends Policy {
  prefix: string;
  tier: string;

  constructor(config: Table) {
    super();
    this.prefix = config.at("prefix").text("/orders");
    this.tier = config.at("tier").text("gold");
  }

  onRequest(): Decision {
    if (!Request.path().startsWith(this.prefix)) return Decision.deny(403, "no").because("path");
    if (Request.header("x-tier") != this.tier) return Decision.deny(403, "no").because("tier");
    if (Request.header("x-device") === null) return Decision.deny(403, "no").because("device");
    const subject = Request.claim("sub");
    if (subject === null) return Decision.deny(401, "no").because("subject");
    return Decision.pass().setRequestHeader("x-user", subject);
  }
}

export function on_config(): i32 { return checkConfig<Small>(); }
export function on_request(): i32 { return decideRequest<Small>(); }
