//! The SDK's own tests, on any machine: `rustc --test sdk/tests.rs`.

#[path = "lib.rs"]
mod sdk;

use sdk::testing::{self, get, Decided};
use sdk::{
    grants::kv, hash, json, path, Decision, Policy, Request, Response, ResponseEdits, Table,
};

/// Says what it is asked for by the request's path.
struct Echo;

impl Policy for Echo {
    fn new(config: &Table) -> Self {
        config.at("name").required().text("");
        Echo
    }

    fn on_request(&self, request: &Request) -> Decision {
        match request.path().as_str() {
            "/header" => Decision::respond(200, &request.header("X-In").unwrap_or_default()),
            "/claim" => Decision::respond(200, &request.claim("sub").unwrap_or_default()),
            "/json" => Decision::respond(200, &request.claim_json("sub").unwrap_or_default()),
            "/fail" => Decision::fail("told to").because("unheard"),
            "/kv" => {
                kv::set("a", "1", 0);
                let (sum, kept) = (kv::increment("a", 2, 0), kv::get("a"));
                Decision::respond(sum as u16 + 200, &kept.unwrap_or_default())
            }
            "/drop" => {
                let _dropped = Decision::deny(403, "no").set_value("a", "b");
                Decision::pass()
            }
            "/split" => Decision::pass().set_request_header("x-in", "a\r\nb: c"),
            _ => Decision::pass()
                .set_request_header("X-Set", "1")
                .remove_request_header("x-gone")
                .add_response_header("Set-Cookie", "a=b")
                .set_path("/moved")
                .set_value("v", "1"),
        }
    }

    fn on_response(&self, _: &Request, response: &Response) -> ResponseEdits {
        let all = response.headers("set-cookie").join("|");
        ResponseEdits::none()
            .set_header("x-all", &all)
            .remove_header("server")
    }
}

fn decide(call: testing::Call) -> Decided {
    call.config(r#"{"name":"echo"}"#).decide::<Echo>()
}

#[test]
fn a_request_is_asked_and_a_decision_is_told() {
    let decided = decide(get("/header").header("x-in", "a").header("X-In", "b"));
    assert_eq!((decided.status, decided.body.as_str()), (200, "a, b"));
    let decided = decide(get("/"));
    let edits = [
        ("x-set".to_string(), Some("1".to_string())),
        ("x-gone".to_string(), None),
    ];
    assert_eq!(decided.request_edits, edits);
    assert_eq!(
        decided.response_additions,
        [("set-cookie".to_string(), "a=b".to_string())]
    );
    assert_eq!(decided.path.as_deref(), Some("/moved"));
    assert_eq!(decided.values, [("v".to_string(), "1".to_string())]);
}

#[test]
fn a_claim_is_plain_text_or_json() {
    assert_eq!(decide(get("/claim").claim("sub", r#""a\"b""#)).body, "a\"b");
    assert_eq!(decide(get("/claim").claim("sub", "[1]")).body, "[1]");
    assert_eq!(
        decide(get("/json").claim("sub", r#""[1]""#)).body,
        r#""[1]""#
    );
}

#[test]
fn what_is_granted_is_there() {
    let decided = decide(get("/kv"));
    assert_eq!((decided.status, decided.body.as_str()), (203, "3"));
}

#[test]
fn a_dropped_decision_decides_nothing() {
    assert_eq!(decide(get("/drop")), Decided::default());
}

#[test]
fn a_failure_is_told_and_nothing_else() {
    let decided = decide(get("/fail"));
    assert_eq!(decided.error.as_deref(), Some("told to"));
    assert_eq!((decided.status, decided.reason.as_str()), (0, ""));
}

#[test]
#[should_panic(expected = "x-in")]
fn a_header_that_would_split_is_refused_as_the_gateway_refuses_it() {
    decide(get("/split"));
}

#[test]
fn a_response_is_seen_line_by_line() {
    let headers = [("Set-Cookie", "a=1"), ("set-cookie", "b=2")];
    let decided = decide(get("/").response(200, &headers));
    assert_eq!(
        decided.response_edits[0],
        ("x-all".into(), Some("a=1|b=2".into()))
    );
    assert_eq!(decided.response_edits[1], ("server".into(), None));
}

#[test]
fn faults_of_a_configuration_are_gathered() {
    assert_eq!(testing::faults::<Echo>(r#"{"name":"x"}"#), "");
    let all = testing::faults::<Echo>(r#"{"nam":1}"#);
    assert_eq!(all, "name is missing; nam is not one of the keys name");
    let none = "the configuration is no object, or too long or too deep";
    assert_eq!(testing::faults::<Echo>("[]"), none);
    assert_eq!(testing::faults::<Echo>("{"), none);
    let failed = get("/").config("{}").decide::<Echo>();
    assert_eq!(failed.error.as_deref(), Some("name is missing"));
}

#[test]
fn json_is_bounded_in_length_and_depth() {
    let long = |length: usize| json::parse(["\"", &"x".repeat(length - 2), "\""].concat());
    assert!(long(json::TEXT_BYTES_MAX).is_some());
    assert!(long(json::TEXT_BYTES_MAX + 1).is_none());
    let deep = |depth: usize| json::parse("[".repeat(depth) + &"]".repeat(depth));
    assert!(deep(json::DEPTH_MAX).is_some());
    assert!(deep(json::DEPTH_MAX + 2).is_none());
    // A hundred thousand opening brackets end the reading, not the stack.
    assert!(json::parse("[".repeat(100_000)).is_none());
}

#[test]
fn hmac_is_that_of_rfc_4231() {
    let hex = |key: &[u8], text: &[u8]| hash::to_hex(&hash::hmac_sha256(key, text));
    assert_eq!(
        hex(b"Jefe", b"what do ya want for nothing?"),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(
        hex(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First"
        ),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
}

#[test]
fn prefixes_are_compared_segment_by_segment() {
    for (at, prefix, expected) in [
        ("/a", "/a", true),
        ("/a/", "/a", true),
        ("/a/b", "/a/", true),
        ("/ab", "/a", false),
        ("/a", "/a/b", false),
        ("/anything", "/", true),
        ("/", "/", true),
    ] {
        assert_eq!(path::lies_below(at, prefix), expected, "{at} {prefix}");
    }
    assert_eq!(path::without_parameters("/a;v=1/b;c"), "/a/b");
}
