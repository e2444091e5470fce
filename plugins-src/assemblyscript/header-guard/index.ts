// Lets a request pass only with the right value in a header. For demonstration: real keys belong to
// the built-in key-auth or to api-key-tiers, which keep hashes and not the keys.

import { Decision, Policy, Request, Table, checkConfig, decideRequest } from "../sdk/index";

class HeaderGuard extends Policy {
  name: string;
  wanted: string;

  constructor(config: Table) {
    super();
    this.name = config.at("header").headerName("x-demo-key");
    this.wanted = config.at("value").text("open sesame");
  }

  onRequest(): Decision {
    const given = Request.header(this.name);
    if (given === null) {
      return Decision.deny(403, "The gate is closed: send the header " + this.name + ".\n")
        .because(this.name + " is missing");
    }
    if (given != this.wanted) {
      return Decision.deny(403, "The gate is closed: wrong " + this.name + ".\n")
        .because(this.name + " has a wrong value");
    }
    return Decision.pass().removeRequestHeader(this.name).setValue("gate", "open");
  }
}

export function on_config(): i32 { return checkConfig<HeaderGuard>(); }
export function on_request(): i32 { return decideRequest<HeaderGuard>(); }
