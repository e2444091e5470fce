//! Attribute-based authorization: ordered rules over method, path and claims, the first that matches
//! decides, and what no rule allows is refused. Doubt is never in favour of the request: a claim that a
//! condition cannot compare counts for denying rules and against allowing ones.

#[macro_use]
#[path = "../sdk/lib.rs"]
mod sdk;
mod condition;
#[cfg(test)]
mod tests;

use condition::{Claims, Condition, Truth};
use sdk::config::is_token;
use sdk::path::{is_normal, lies_below, without_parameters};
use sdk::text::concat;
use sdk::{Decision, Policy, Request, Table};

const RULES_MAX: usize = 200;

struct Rule {
    name: String,
    denies: bool,
    /// Any, when empty.
    methods: Vec<String>,
    paths: Vec<String>,
    conditions: Vec<Condition>,
}

struct Abac {
    rules: Vec<Rule>,
    status: u16,
}

impl Policy for Abac {
    fn new(config: &Table) -> Self {
        let status = config.at("status").whole(403, 400..=499) as u16;
        let tables = config.at("rules").required().tables();
        if tables.len() > RULES_MAX {
            config.fault("rules", "must hold at most 200 rules");
        }
        let mut rules: Vec<Rule> = Vec::new();
        for table in tables {
            let rule = read_rule(&table);
            if rules.iter().any(|other| other.name == rule.name) {
                table.fault("name", "is the name of an earlier rule");
            }
            rules.push(rule);
        }
        Abac { rules, status }
    }

    fn on_request(&self, request: &Request) -> Decision {
        let method = request.method();
        let path = request.path();
        let bare_path = without_parameters(&path);
        let mut claims = Claims::of(request);
        for rule in &self.rules {
            let is_about = rule.has_method(&method) && rule.has_path(&path, &bare_path);
            if !is_about || !rule.holds(&mut claims) {
                continue;
            }
            return match rule.denies {
                true => self.deny(&concat(&["denied by the rule ", &rule.name])),
                false => Decision::pass().set_value("abac", &rule.name),
            };
        }
        self.deny("no rule allows it")
    }
}

export!(Abac: on_request);

impl Abac {
    fn deny(&self, reason: &str) -> Decision {
        Decision::deny(self.status, "This is not allowed.\n").because(reason)
    }
}

impl Rule {
    fn has_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|own| own == method)
    }

    // `/admin;v=1` is below `/admin` to servers that know path parameters, and beside it to others: a
    // denying rule reads it as the former do, an allowing one as the latter.
    fn has_path(&self, path: &str, bare_path: &str) -> bool {
        let read = if self.denies { bare_path } else { path };
        self.paths.is_empty() || self.paths.iter().any(|prefix| lies_below(read, prefix))
    }

    fn holds(&self, claims: &mut Claims) -> bool {
        self.conditions
            .iter()
            .all(|condition| match condition.truth(claims) {
                Truth::Yes => true,
                Truth::No => false,
                Truth::Unclear => self.denies,
            })
    }
}

fn read_rule(table: &Table) -> Rule {
    let rule = Rule {
        name: table.at("name").required().text("unnamed"),
        denies: table.at("effect").required().choice(&["allow", "deny"]) == 1,
        methods: table.at("methods").filled().texts(),
        paths: table.at("paths").filled().texts(),
        conditions: table
            .at("when")
            .filled()
            .tables()
            .iter()
            .map(condition::read)
            .collect(),
    };
    if !is_token(&rule.name) {
        table.fault("name", "must be a word of letters, digits and hyphens");
    }
    let is_method = |method: &String| is_token(method) && *method == method.to_ascii_uppercase();
    if !rule.methods.iter().all(is_method) {
        table.fault("methods", "must be names such as GET");
    }
    if !rule
        .paths
        .iter()
        .all(|prefix| is_normal(prefix) && without_parameters(prefix) == *prefix)
    {
        table.fault(
            "paths",
            "must be prefixes in normal form such as /orders, without semicolons",
        );
    }
    rule
}
