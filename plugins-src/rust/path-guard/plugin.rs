//! Refuses requests whose path lies below a denied prefix. Prefixes are compared segment by segment:
//! `/admin` denies `/admin` and `/admin/users`, but not `/administration`.

#[macro_use]
#[path = "../sdk/lib.rs"]
mod sdk;
#[cfg(test)]
mod tests;

use sdk::path::{is_normal, lies_below, without_parameters};
use sdk::text::concat;
use sdk::{Decision, Policy, Request, Table};

struct PathGuard {
    denied: Vec<String>,
}

impl Policy for PathGuard {
    fn new(config: &Table) -> Self {
        let denied = config.at("deny").required().texts();
        for prefix in &denied {
            if !is_normal(prefix) || without_parameters(prefix) != *prefix {
                let form = "; a prefix is in normal form, with a slash first and no semicolon";
                config.fault("deny", &concat(&["holds ", prefix, form]));
            }
        }
        PathGuard { denied }
    }

    fn on_request(&self, request: &Request) -> Decision {
        let path = without_parameters(&request.path());
        match self.denied.iter().find(|prefix| lies_below(&path, prefix)) {
            Some(prefix) => {
                Decision::deny(403, "This path is closed.\n").because(&concat(&["below ", prefix]))
            }
            None => Decision::pass().set_request_header("x-path-guard", "passed"),
        }
    }
}

export!(PathGuard: on_request);
