//! A small policy for the bench: a path, two headers and a claim, then a header.
//! assemblyscript/sdk/small.ts is the same.

#[macro_use]
#[path = "lib.rs"]
mod sdk;

use sdk::{Decision, Policy, Request, Table};

struct Small {
    prefix: String,
    tier: String,
}

impl Policy for Small {
    fn new(config: &Table) -> Self {
        Small {
            prefix: config.at("prefix").text("/orders"),
            tier: config.at("tier").text("gold"),
        }
    }

    fn on_request(&self, request: &Request) -> Decision {
        if !request.path().starts_with(&self.prefix) {
            return Decision::deny(403, "no").because("path");
        }
        if request.header("x-tier").as_ref() != Some(&self.tier) {
            return Decision::deny(403, "no").because("tier");
        }
        if request.header("x-device").is_none() {
            return Decision::deny(403, "no").because("device");
        }
        match request.claim("sub") {
            None => Decision::deny(401, "no").because("subject"),
            Some(subject) => Decision::pass().set_request_header("x-user", &subject),
        }
    }
}

export!(Small: on_request);
