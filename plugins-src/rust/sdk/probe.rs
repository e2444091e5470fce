//! Says and asks everything that the SDK can, for its test. assemblyscript/sdk/probe.ts is the same
//! plugin.

#[path = "lib.rs"]
mod sallyport;

use sallyport::{config, deny, fail, log, request, respond, respond_with_header, response, values};

#[no_mangle]
pub extern "C" fn on_request() -> i32 {
    match request::path().as_str() {
        "/fail" => return fail("told to fail"),
        "/deny" => deny(403, "no", "told to deny"),
        "/tell" => tell(),
        _ => edit(),
    }
    0
}

#[no_mangle]
pub extern "C" fn on_response() -> i32 {
    response::set_header("x-status", &response::status().to_string());
    response::set_header("x-copy", &or(response::header("x-origin")));
    response::remove_header("x-origin");
    0
}

fn tell() {
    respond_with_header("x-told", "1");
    respond_with_header("x-told", "2");
    let told = [
        ["method", &request::method()],
        ["path", &request::path()],
        ["query", &request::query()],
        ["host", &request::host()],
        ["scheme", &request::scheme()],
        ["client_ip", &request::client_ip()],
        ["tls", &or(request::tls("version"))],
        ["id", &request::id()],
        ["route", &request::route()],
        ["consumer", &or(request::consumer())],
        ["query_param", &or(request::query_param("text"))],
        ["header", &or(request::header("X-In"))],
        ["param", &or(request::param("id"))],
        ["claim", &or(request::claim("sub"))],
        ["config", &or(config::get("word"))],
        ["value", &or(values::get("before"))],
        ["status", &response::status().to_string()],
    ];
    respond(201, &told.map(|line| line.join("=")).join("\n"));
}

fn edit() {
    request::set_header("x-set", &config::get_or("word", "none"));
    request::remove_header("x-in");
    request::set_path("/moved");
    response::set_header("x-out", "");
    response::remove_header("server");
    values::set("after", "set");
    log::info("edited");
    log::warn("warned");
}

fn or(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}
