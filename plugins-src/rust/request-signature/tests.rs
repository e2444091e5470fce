use crate::sdk::hash::{hmac_sha256, to_hex};
use crate::sdk::testing::{faults, get, Call};
use crate::RequestSignature;

const NOW_S: u64 = 1_795_521_600;
const CONFIG: &str = r#"{ "headers": ["Host", "content-digest"], "window_s": 60,
    "keys": [{ "id": "k1", "secret": "0123456789abcdef" }, { "id": "k2", "secret": "another secret, longer" }] }"#;

fn signed(time: &str, digest: &str, secret: &str) -> String {
    let lines = [
        "sallyport-hmac-sha256-1",
        "POST",
        "/orders",
        "a=1&b",
        time,
        "api.example.com",
        digest,
    ];
    to_hex(&hmac_sha256(secret.as_bytes(), lines.join("\n").as_bytes()))
}

fn request(signature: &str, time: &str) -> Call {
    get("/orders")
        .method("POST")
        .query("a=1&b")
        .header("host", "api.example.com")
        .header("content-digest", "d")
        .header("x-key-id", "k1")
        .header("x-timestamp", time)
        .header("x-signature", signature)
        .config(CONFIG)
        .now_s(NOW_S)
}

fn reason(call: Call) -> String {
    call.decide::<RequestSignature>().reason
}

#[test]
fn a_signed_request_passes_and_says_who_signed() {
    let time = NOW_S.to_string();
    let signature = signed(&time, "d", "0123456789abcdef");
    for signature in [signature.clone(), signature.to_uppercase()] {
        let decided = request(&signature, &time).decide::<RequestSignature>();
        assert_eq!((decided.status, decided.reason.as_str()), (0, ""));
        assert_eq!(
            decided.values,
            [("signed_by".to_string(), "k1".to_string())]
        );
        let edits = [
            ("x-signature".into(), None),
            ("x-signed-by".into(), Some("k1".into())),
        ];
        assert_eq!(decided.request_edits, edits);
    }
}

#[test]
fn a_request_that_differs_in_anything_signed_does_not() {
    let time = NOW_S.to_string();
    let signature = signed(&time, "d", "0123456789abcdef");
    let original = request(&signature, &time);
    let mut others = vec![
        original.clone().method("PUT"),
        original.clone().query("a=1&b="),
        original.clone().header("content-digest", "d"),
        request(&signed(&time, "d", "another secret, longer"), &time),
        request(&signed(&time, "e", "0123456789abcdef"), &time),
    ];
    others.push(Call {
        path: "/orders/".into(),
        ..original.clone()
    });
    let next = (NOW_S + 1).to_string();
    others.push(request(&signature, &next));
    for (index, other) in others.into_iter().enumerate() {
        assert_eq!(
            reason(other),
            "the signature is of something else",
            "{index}"
        );
    }
    for length in [0, 2, 62] {
        let cut = request(&signature[..length], &time);
        let wanted = if length == 0 {
            "no signature"
        } else {
            "the signature is of something else"
        };
        assert_eq!(reason(cut), wanted);
    }
    assert_eq!(
        reason(request(&[&signature[..63], "g"].concat(), &time)),
        "a malformed signature"
    );
    assert_eq!(
        reason(request(&signature[..63], &time)),
        "a malformed signature"
    );
}

#[test]
fn the_time_must_be_near() {
    let at = |time_s: u64| {
        let time = time_s.to_string();
        reason(request(&signed(&time, "d", "0123456789abcdef"), &time))
    };
    assert_eq!(at(NOW_S - 60), "");
    assert_eq!(at(NOW_S + 60), "");
    assert_eq!(at(NOW_S - 61), "the timestamp is too old");
    assert_eq!(at(NOW_S + 61), "the timestamp is of the future");
    assert_eq!(at(0), "the timestamp is too old");
    assert_eq!(at(999_999_999_999), "the timestamp is of the future");
    for time in [
        "1795521600.0",
        "+1795521600",
        "-1",
        " 1",
        "1e9",
        "9999999999999",
        "1, 1",
    ] {
        assert_eq!(
            reason(request("00", time)),
            "a malformed timestamp",
            "{time}"
        );
    }
}

#[test]
fn what_is_missing_is_named() {
    let time = NOW_S.to_string();
    let whole = request(&signed(&time, "d", "0123456789abcdef"), &time);
    for (name, wanted) in [
        ("x-key-id", "no key id"),
        ("x-timestamp", "no timestamp"),
        ("x-signature", "no signature"),
        ("content-digest", "a signed header is missing"),
    ] {
        let mut call = whole.clone();
        call.headers.retain(|(own, _)| own != name);
        let decided = call.decide::<RequestSignature>();
        assert_eq!((decided.status, decided.reason.as_str()), (401, wanted));
    }
    assert_eq!(reason(whole.header("x-key-id", "k1")), "an unknown key id");
}

#[test]
fn a_wrong_configuration_is_refused_with_every_fault_and_no_secret() {
    let all = faults::<RequestSignature>(
        r#"{ "keys": [{ "id": "a b", "secret": "short" }, { "id": "k" }, { "id": "k", "secret": 5 }],
            "headers": ["a b"], "window_s": 0, "id_header": "" }"#,
    );
    for sentence in [
        "keys[0].id must be a word of letters, digits and hyphens",
        "keys[0].secret must have at least 16 bytes",
        "keys[1].secret is missing",
        "keys[2].id is the id of an earlier key",
        "keys[2].secret must be a text, not a number",
        "headers must be names of headers",
        "window_s must be a whole number from 1 to 3600",
        "id_header must be a header's name",
    ] {
        assert!(all.contains(sentence), "{sentence}\n{all}");
    }
    assert!(!all.contains("short"));
    assert_eq!(faults::<RequestSignature>("{}"), "keys is missing");
}
