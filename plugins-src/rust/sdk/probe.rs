//! Says and asks everything that the SDK can, for its test. assemblyscript/sdk/probe.ts is the same
//! plugin.

#[path = "lib.rs"]
mod sdk;

use sdk::json::{Kind, Value};
use sdk::{
    clock, hash, json, log, path, Decision, Policy, Request, Response, ResponseEdits, Table,
};

struct Probe {
    word: String,
    /// What every kind of field was read as.
    read: String,
}

impl Policy for Probe {
    fn new(config: &Table) -> Self {
        let word = config.at("word").text("none");
        let mut read = vec![
            ["a", "b"][config.at("choice").choice(&["a", "b"])].into(),
            hex(config.at("number").number(0.5)),
            config.at("whole").whole(3, 1..=10).to_string(),
            config.at("flag").flag(true).to_string(),
            config.at("header").header_name("x-none"),
            config.at("texts").texts().join("+"),
        ];
        if let Some(table) = config.at("table").table() {
            read.push(table.at("needed").required().text(""));
        }
        for table in config.at("tables").tables() {
            let text = table.at("text").text("-");
            if text == "wrong" {
                table.fault("text", "must be right");
            }
            read.push(text);
        }
        Probe {
            word,
            read: read.join(" "),
        }
    }

    fn on_request(&self, request: &Request) -> Decision {
        match request.path().as_str() {
            "/fail" => Decision::fail("told to fail"),
            "/deny" => Decision::deny(403, "no").because("told to deny"),
            "/tell" => self.tell(request),
            "/fail-late" => Decision::pass(),
            "/config" => Decision::respond(200, &self.read),
            "/json" => Decision::respond(200, &shown(&asked(request))),
            "/sha256" => {
                Decision::respond(200, &hash::to_hex(&hash::sha256(asked(request).as_bytes())))
            }
            "/hmac" => {
                let key = request.query_param("key").unwrap_or_default();
                let digest = hash::hmac_sha256(key.as_bytes(), asked(request).as_bytes());
                Decision::respond(200, &hash::to_hex(&digest))
            }
            "/hex" => Decision::respond(
                200,
                &match hash::from_hex(&asked(request)) {
                    Some(bytes) => hash::to_hex(&bytes),
                    None => "-".into(),
                },
            ),
            "/same" => {
                let key = request.query_param("key").unwrap_or_default();
                let is_same = hash::is_same(asked(request).as_bytes(), key.as_bytes());
                Decision::respond(200, &is_same.to_string())
            }
            "/normal" => Decision::respond(200, &path::is_normal(&asked(request)).to_string()),
            _ => self.edit(),
        }
    }

    fn on_response(&self, request: &Request, response: &Response) -> ResponseEdits {
        if request.path() == "/fail-late" {
            return ResponseEdits::fail("told to fail late");
        }
        let cookies = response.headers("Set-Cookie");
        let mut edits = ResponseEdits::none()
            .set_header("x-status", &response.status().to_string())
            .set_header("x-copy", &or(response.header("x-origin")))
            .set_header(
                "x-cookies",
                &response.header_count("set-cookie").to_string(),
            )
            .remove_header("x-origin")
            .remove_header("set-cookie")
            .set_value("late", "set");
        for cookie in cookies {
            edits = edits.add_header("set-cookie", &(cookie + "; Secure"));
        }
        edits
    }
}

export!(Probe: on_request, on_response);

impl Probe {
    fn tell(&self, request: &Request) -> Decision {
        let told = [
            ["method", &request.method()],
            ["path", &request.path()],
            ["query", &request.query()],
            ["host", &request.host()],
            ["scheme", &request.scheme()],
            ["client_ip", &request.client_ip()],
            ["tls", &or(request.tls("version"))],
            ["id", &request.id()],
            ["route", &request.route()],
            ["consumer", &or(request.consumer())],
            ["query_param", &or(request.query_param("text"))],
            ["header", &or(request.header("X-In"))],
            ["param", &or(request.param("id"))],
            ["claim", &or(request.claim("sub"))],
            ["claim_json", &or(request.claim_json("sub"))],
            ["config", &self.word],
            ["value", &or(request.value("before"))],
            ["now", &clock::now_s().to_string()],
        ];
        Decision::respond(201, &told.map(|line| line.join("=")).join("\n"))
            .header("x-told", "1")
            .header("x-told", "2")
    }

    fn edit(&self) -> Decision {
        log::info("edited");
        log::warn("warned");
        Decision::pass()
            .set_request_header("x-set", &self.word)
            .remove_request_header("x-in")
            .set_path("/moved")
            .set_response_header("x-out", "")
            .add_response_header("x-more", "1")
            .add_response_header("x-more", "2")
            .remove_response_header("server")
            .set_value("after", "set")
    }
}

fn asked(request: &Request) -> String {
    request.query_param("text").unwrap_or_default()
}

fn or(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

/// A line for each value, with the keys that lead to it and what was read of it; `-` for what is no
/// JSON.
fn shown(text: &str) -> String {
    match json::parse(text.into()) {
        None => "-".into(),
        Some(document) => {
            let mut lines = String::new();
            show(document.root(), "", &mut lines);
            lines
        }
    }
}

// Recursion is bounded by the reader's depth.
fn show(value: Value, path: &str, lines: &mut String) {
    let line = match value.kind() {
        Kind::Text => "t".to_string() + &value.text().unwrap_or_default(),
        Kind::Number => "n".to_string() + &hex(value.number().unwrap_or_default()),
        Kind::Flag => ["false", "true"][usize::from(value.flag() == Some(true))].into(),
        Kind::Null => "null".into(),
        Kind::List => "[".into(),
        Kind::Object => "{".into(),
    };
    lines.push_str(&[path, " ", &line, "\n"].concat());
    for (index, item) in value.items().enumerate() {
        show(item, &[path, "/", &index.to_string()].concat(), lines);
    }
    for (key, item) in value.entries() {
        let key = key.text().unwrap_or_default();
        // As plugins read it: by the key, of which the last one counts.
        if value.get(&key) == Some(item) {
            show(item, &[path, "/", &key].concat(), lines);
        }
    }
}

fn hex(number: f64) -> String {
    hash::to_hex(&number.to_bits().to_be_bytes())
}
