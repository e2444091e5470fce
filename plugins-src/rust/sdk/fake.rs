//! The host of tests: the functions of `host` over a call that the test has made. It keeps to the
//! rules that plugins most often break, names and values of headers; the gateway has more.

use super::testing::{Call, Decided};
use std::cell::RefCell;

thread_local! {
    static STAGE: RefCell<Stage> = RefCell::default();
}

#[derive(Default)]
struct Stage {
    call: Call,
    decided: Decided,
    /// What handles stand for; a handle is an index and 1.
    texts: Vec<String>,
}

/// Runs `act` as this call and tells what it decided.
pub fn stage(call: Call, act: impl FnOnce() -> i32) -> Decided {
    STAGE.with(|stage| {
        *stage.borrow_mut() = Stage {
            call,
            ..Stage::default()
        }
    });
    let code = act();
    STAGE.with(|stage| {
        let decided = std::mem::take(&mut stage.borrow_mut().decided);
        assert_eq!(
            code != 0,
            decided.error.is_some(),
            "an export returns what it decided"
        );
        if decided.error.is_none() {
            return decided;
        }
        // A call that fails leaves no trace.
        Decided {
            error: decided.error,
            logs: decided.logs,
            ..Decided::default()
        }
    })
}

pub fn give(text: &str) -> u64 {
    put(Some(text.to_string()))
}

pub fn take(handle: u64) -> Option<String> {
    match handle {
        0 => None,
        _ => STAGE.with(|stage| stage.borrow().texts.get(handle as usize - 1).cloned()),
    }
}

pub fn take_bytes(handle: u64) -> Option<Vec<u8>> {
    take(handle).map(String::into_bytes)
}

pub fn clock_ns() -> u64 {
    ask(|call| call.now_s * 1_000_000_000)
}

fn put(text: Option<String>) -> u64 {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return 0;
    }
    STAGE.with(|stage| {
        let texts = &mut stage.borrow_mut().texts;
        texts.push(text);
        texts.len() as u64
    })
}

fn ask<T>(read: impl FnOnce(&Call) -> T) -> T {
    STAGE.with(|stage| read(&stage.borrow().call))
}

fn say(write: impl FnOnce(&mut Decided)) {
    STAGE.with(|stage| write(&mut stage.borrow_mut().decided));
}

fn find(pairs: &[(String, String)], name: &str) -> Option<String> {
    all(pairs, name).into_iter().next()
}

fn all(pairs: &[(String, String)], name: &str) -> Vec<String> {
    let own = pairs
        .iter()
        .filter(|(own, _)| own.eq_ignore_ascii_case(name));
    own.map(|(_, value)| value.clone()).collect()
}

/// A header's name in lower case and its value, both checked as the gateway does.
fn header(name: u64, value: u64) -> (String, String) {
    let (name, value) = (text(name), text(value));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    assert!(
        !name.is_empty() && name.len() <= 128 && name.bytes().all(is_token),
        "{name:?}"
    );
    assert!(
        value.chars().all(|char| char == '\t' || !char.is_control()),
        "{name}: {value:?}"
    );
    (name.to_ascii_lowercase(), value)
}

fn text(handle: u64) -> String {
    take(handle).unwrap_or_default()
}

macro_rules! readers {
    ($($function:ident: $field:ident),+) => {
        $(pub unsafe fn $function() -> u64 {
            put(Some(ask(|call| call.$field.clone())))
        })+
    };
}
readers!(
    request_method: method, request_path: path, request_query: query, request_host: host,
    request_scheme: scheme, request_client_ip: client_ip, request_id: id, request_route: route,
    request_consumer: consumer, request_body: body
);

macro_rules! named_readers {
    ($($function:ident: $field:ident),+) => {
        $(pub unsafe fn $function(name: u64) -> u64 {
            put(ask(|call| find(&call.$field, &text(name))))
        })+
    };
}
named_readers!(
    request_tls: tls, request_query_param: query_params, request_param: params,
    request_claim_json: claims, value_get: values
);

pub unsafe fn request_header(name: u64) -> u64 {
    let name = text(name);
    let join = if name.eq_ignore_ascii_case("cookie") {
        "; "
    } else {
        ", "
    };
    put(Some(ask(|call| all(&call.headers, &name)).join(join)))
}

pub unsafe fn request_body_is_whole() -> i32 {
    ask(|call| call.body_is_whole.into())
}

pub unsafe fn request_claim(name: u64) -> u64 {
    let json = ask(|call| find(&call.claims, &text(name)));
    let plain = json.map(|json| match super::json::parse(json.clone()) {
        Some(document) => document.root().text().unwrap_or(json),
        None => json,
    });
    put(plain)
}

pub unsafe fn config_get(key: u64) -> u64 {
    assert_eq!(
        text(key),
        "config",
        "the fake knows the whole configuration only"
    );
    put(Some(ask(|call| call.config.clone())))
}

pub unsafe fn response_status() -> i32 {
    ask(|call| call.response_status.into())
}

pub unsafe fn response_header(name: u64) -> u64 {
    put(ask(|call| find(&call.response_headers, &text(name))))
}

pub unsafe fn response_header_count(name: u64) -> i32 {
    ask(|call| all(&call.response_headers, &text(name)).len() as i32)
}

pub unsafe fn response_header_at(name: u64, index: i32) -> u64 {
    put(ask(|call| {
        all(&call.response_headers, &text(name))
            .get(index as usize)
            .cloned()
    }))
}

pub unsafe fn respond(status: i32, body: u64) {
    assert!(
        (200..=599).contains(&status),
        "a response needs a status from 200 to 599"
    );
    assert_eq!(
        ask(|call| call.response_status),
        0,
        "respond belongs to on_request"
    );
    let body = text(body);
    say(|decided| {
        decided.status = status as u16;
        decided.body = body;
    });
}

pub unsafe fn respond_header(name: u64, value: u64) {
    let header = header(name, value);
    say(|decided| decided.headers.push(header));
}

pub unsafe fn reason(reason: u64) {
    let reason = text(reason);
    say(|decided| decided.reason = reason);
}

pub unsafe fn set_path(path: u64) {
    let path = text(path);
    assert!(path.starts_with('/'), "a path starts with a slash");
    say(|decided| decided.path = Some(path));
}

pub unsafe fn set_request_header(name: u64, value: u64) {
    let (name, value) = header(name, value);
    say(|decided| decided.request_edits.push((name, Some(value))));
}

pub unsafe fn remove_request_header(name: u64) {
    let (name, _) = header(name, 0);
    say(|decided| decided.request_edits.push((name, None)));
}

pub unsafe fn set_response_header(name: u64, value: u64) {
    let (name, value) = header(name, value);
    say(|decided| decided.response_edits.push((name, Some(value))));
}

pub unsafe fn add_response_header(name: u64, value: u64) {
    let header = header(name, value);
    say(|decided| decided.response_additions.push(header));
}

pub unsafe fn remove_response_header(name: u64) {
    let (name, _) = header(name, 0);
    say(|decided| decided.response_edits.push((name, None)));
}

pub unsafe fn value_set(name: u64, value: u64) {
    let pair = (text(name), text(value));
    say(|decided| decided.values.push(pair));
}

pub unsafe fn kv_get(key: u64) -> u64 {
    let key = text(key);
    put(STAGE.with(|stage| find(&stage.borrow().call.stored, &key)))
}

pub unsafe fn kv_set(key: u64, value: u64, _ttl_ms: u64) {
    let (key, value) = (text(key), text(value));
    STAGE.with(|stage| {
        let stored = &mut stage.borrow_mut().call.stored;
        stored.retain(|(own, _)| *own != key);
        stored.push((key, value));
    });
}

pub unsafe fn kv_incr(key: u64, by: i64, ttl_ms: u64) -> i64 {
    let before: i64 = take(kv_get(key)).map_or(0, |text| text.parse().expect("a number"));
    kv_set(key, give(&(before + by).to_string()), ttl_ms);
    before + by
}

pub unsafe fn http_call(_request: u64) -> u64 {
    put(Some(ask(|call| call.http_answer.clone())))
}

pub unsafe fn error_set(message: u64) {
    let message = text(message);
    say(|decided| decided.error = Some(message));
}

pub unsafe fn log_info(line: u64) {
    let line = text(line);
    say(|decided| decided.logs.push(line));
}

pub unsafe fn log_warn(line: u64) {
    log_info(line);
}
