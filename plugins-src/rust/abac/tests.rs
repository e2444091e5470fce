use crate::sdk::testing::{faults, get, Call};
use crate::Abac;

const RULES: &str = r#"{ "rules": [
    { "name": "no-suspended", "effect": "deny", "when": [{ "claim": "suspended", "equals": true }] },
    { "name": "no-risk", "effect": "deny", "when": [{ "claim": "risk", "above": 5 }] },
    { "name": "read", "effect": "allow", "methods": ["GET"], "paths": ["/orders"],
      "when": [{ "claim": "scope", "has_word": "orders:read" }] },
    { "name": "staff", "effect": "allow", "paths": ["/"],
      "when": [{ "claim": "realm_access", "key": "roles", "contains": "staff" }] }
] }"#;

fn decided(call: Call) -> String {
    let decided = call.config(RULES).decide::<Abac>();
    match decided.status {
        0 => decided.values[0].1.clone(),
        status => [&status.to_string(), " ", &decided.reason].concat(),
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let reader = get("/orders/7").claim("scope", r#""openid orders:read""#);
    assert_eq!(decided(reader.clone()), "read");
    let suspended = reader.clone().claim("suspended", "true");
    assert_eq!(decided(suspended), "403 denied by the rule no-suspended");
    assert_eq!(
        decided(reader.clone().method("PUT")),
        "403 no rule allows it"
    );
    assert_eq!(
        decided(get("/").claim("realm_access", r#"{"roles":["staff"]}"#)),
        "staff"
    );
    assert_eq!(decided(get("/orders")), "403 no rule allows it");
}

#[test]
fn doubt_is_for_denying_rules_and_against_allowing_ones() {
    let reader = get("/orders/7").claim("scope", r#""orders:read""#);
    for (name, json, reason) in [
        (
            "suspended",
            r#""true""#,
            "403 denied by the rule no-suspended",
        ),
        ("suspended", "null", "403 denied by the rule no-suspended"),
        ("risk", r#""9""#, "403 denied by the rule no-risk"),
        ("risk", "[9]", "403 denied by the rule no-risk"),
        ("risk", "5.000001", "403 denied by the rule no-risk"),
        ("risk", r#""\ud800""#, "403 denied by the rule no-risk"),
        ("risk", "5", "read"),
        ("suspended", "false", "read"),
    ] {
        assert_eq!(
            decided(reader.clone().claim(name, json)),
            reason,
            "{name} {json}"
        );
    }
    for json in [
        r#"["orders:read"]"#,
        r#""orders:reader""#,
        r#""""#,
        "{}",
        "7",
    ] {
        let call = get("/orders").claim("scope", json);
        assert_eq!(decided(call), "403 no rule allows it", "{json}");
    }
    for json in [
        r#""staff""#,
        "[]",
        r#"{"roles":"staff"}"#,
        r#"{"roles":[["staff"]]}"#,
        "{}",
    ] {
        let call = get("/").claim("realm_access", json);
        assert_eq!(decided(call), "403 no rule allows it", "{json}");
    }
}

#[test]
fn a_path_counts_by_what_any_server_may_read_in_it() {
    let rules = r#"{ "rules": [
        { "name": "no-admin", "effect": "deny", "paths": ["/admin"] },
        { "name": "public", "effect": "allow", "paths": ["/public"] } ] }"#;
    for (path, reason) in [
        ("/public/a", ""),
        ("/public/a;v=1", ""),
        ("/publication", "no rule allows it"),
        ("/public;/x", "no rule allows it"),
        ("/admin/users", "denied by the rule no-admin"),
        ("/admin;v=1/users", "denied by the rule no-admin"),
        ("/administration", "no rule allows it"),
    ] {
        let decided = get(path).config(rules).decide::<Abac>();
        assert_eq!(decided.reason, reason, "{path}");
    }
}

#[test]
fn every_test_of_a_claim_does_what_it_says() {
    for (test, json, holds) in [
        (r#""equals": "a""#, r#""a""#, true),
        (r#""equals": "a""#, r#""A""#, false),
        (r#""equals": 5"#, "5.0", true),
        (r#""equals": 5"#, r#""5""#, false),
        (r#""in": ["a", 5, true]"#, "5", true),
        (r#""in": ["a", 5, true]"#, "true", true),
        (r#""in": ["a", 5, true]"#, r#""b""#, false),
        (r#""contains": 2"#, "[1,2]", true),
        (r#""contains": 2"#, "[1,\"2\"]", false),
        (r#""has_word": "b""#, r#""a b""#, true),
        (r#""exists": true"#, "null", true),
        (r#""exists": false"#, "null", false),
        (r#""at_least": 3"#, "3", true),
        (r#""at_most": 3"#, "3.5", false),
        (r#""above": 3"#, "3", false),
        (r#""below": -1.5"#, "-2e0", true),
    ] {
        let rules = [
            r#"{"rules":[{"name":"r","effect":"allow","when":[{"claim":"c","#,
            test,
            "}]}]}",
        ];
        let call = get("/").claim("c", json).config(&rules.concat());
        assert_eq!(call.decide::<Abac>().status == 0, holds, "{test} {json}");
    }
    let absent =
        r#"{"rules":[{"name":"r","effect":"allow","when":[{"claim":"c","exists":false}]}]}"#;
    assert_eq!(get("/").config(absent).decide::<Abac>().status, 0);
}

#[test]
fn a_wrong_policy_is_refused_with_every_fault() {
    let rules = r#"{ "status": 200, "rules": [
        { "name": "a b", "effect": "permit", "methods": ["get"], "paths": ["orders"] },
        { "name": "r", "effect": "deny", "when": [{ "claim": "c" }, { "claim": "c", "equals": [] }] },
        { "name": "r", "effect": "deny", "when": [{ "claim": "c", "above": 1, "below": 2 }] },
        { "effect": "allow", "when": [{ "in": [], "key": "k" }] } ] }"#;
    let all = faults::<Abac>(rules);
    let one = "claim needs exactly one of equals, in, contains";
    for sentence in [
        "status must be a whole number from 400 to 499",
        "rules[0].name must be a word of letters, digits and hyphens",
        "rules[0].effect must be one of allow, deny",
        "rules[0].methods must be names such as GET",
        "rules[0].paths must be prefixes in normal form",
        &["rules[1].when[0].", one].concat(),
        "rules[1].when[1].equals must be a text, a number, true or false",
        "rules[2].name is the name of an earlier rule",
        &["rules[2].when[0].", one].concat(),
        "rules[3].name is missing",
        "rules[3].when[0].claim is missing",
        "rules[3].when[0].in must be a list of texts, numbers, true and false",
    ] {
        assert!(all.contains(sentence), "{sentence}\n{all}");
    }
    assert_eq!(faults::<Abac>(r#"{"rules":[]}"#), "rules must not be empty");
    let rule = r#"{"name":"r1","effect":"allow"},"#.repeat(201);
    let many = [r#"{"rules":["#, rule.trim_end_matches(','), "]}"].concat();
    assert!(faults::<Abac>(&many).contains("rules must hold at most 200 rules"));
    assert_eq!(faults::<Abac>(RULES), "");
}
