//! Lets requests pass that carry an HMAC-SHA-256 of what they ask for, made with a secret that both
//! sides know, and not long ago.

#[macro_use]
#[path = "../sdk/lib.rs"]
mod sdk;
#[cfg(test)]
mod tests;

use sdk::config::is_token;
use sdk::hash::{from_hex, hmac_sha256, is_same};
use sdk::{clock, Decision, Policy, Request, Table};

/// The first line of what is signed: another scheme can never mean the same.
const SCHEME: &str = "sallyport-hmac-sha256-1";
const SECRET_BYTES_MIN: usize = 16;
/// Enough for the next thousands of years.
const TIMESTAMP_DIGITS_MAX: usize = 12;

struct Key {
    id: String,
    secret: String,
}

struct RequestSignature {
    keys: Vec<Key>,
    /// Signed beside method, path, query and time, in this order.
    signed_headers: Vec<String>,
    id_header: String,
    time_header: String,
    signature_header: String,
    window_s: i64,
}

impl Policy for RequestSignature {
    fn new(config: &Table) -> Self {
        let mut keys: Vec<Key> = Vec::new();
        for table in config.at("keys").required().tables() {
            let id = table.at("id").required().text("id");
            let secret = table.at("secret").required().text("");
            if !is_token(&id) {
                table.fault("id", "must be a word of letters, digits and hyphens");
            }
            if keys.iter().any(|key| key.id == id) {
                table.fault("id", "is the id of an earlier key");
            }
            if secret.len() < SECRET_BYTES_MIN && table.has("secret") {
                table.fault("secret", "must have at least 16 bytes");
            }
            keys.push(Key { id, secret });
        }
        let signed_headers: Vec<String> = config.at("headers").texts();
        if !signed_headers.iter().all(|name| is_token(name)) {
            config.fault("headers", "must be names of headers");
        }
        RequestSignature {
            keys,
            signed_headers: signed_headers
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            id_header: config.at("id_header").header_name("x-key-id"),
            time_header: config.at("time_header").header_name("x-timestamp"),
            signature_header: config.at("signature_header").header_name("x-signature"),
            window_s: config.at("window_s").whole(300, 1..=3600).into(),
        }
    }

    fn on_request(&self, request: &Request) -> Decision {
        match self.signer(request) {
            Ok(key) => Decision::pass()
                .remove_request_header(&self.signature_header)
                .set_request_header("x-signed-by", &key.id)
                .set_value("signed_by", &key.id),
            Err(reason) => Decision::deny(401, "A valid signature is needed.\n").because(reason),
        }
    }
}

export!(RequestSignature: on_request);

impl RequestSignature {
    /// The key that signed the request, or why none did. No reason tells what would have been right.
    fn signer(&self, request: &Request) -> Result<&Key, &'static str> {
        let id = request.header(&self.id_header).ok_or("no key id")?;
        let time = request.header(&self.time_header).ok_or("no timestamp")?;
        let signature = request
            .header(&self.signature_header)
            .ok_or("no signature")?;
        let key = self
            .keys
            .iter()
            .find(|key| key.id == id)
            .ok_or("an unknown key id")?;
        let signed_s = seconds(&time).ok_or("a malformed timestamp")?;
        let age_s = clock::now_s() - signed_s;
        if age_s > self.window_s {
            return Err("the timestamp is too old");
        }
        if age_s < -self.window_s {
            return Err("the timestamp is of the future");
        }
        let given = from_hex(&signature).ok_or("a malformed signature")?;
        let message = self
            .message(request, &time)
            .ok_or("a signed header is missing")?;
        let wanted = hmac_sha256(key.secret.as_bytes(), message.as_bytes());
        match is_same(&given, &wanted) {
            true => Ok(key),
            false => Err("the signature is of something else"),
        }
    }

    /// A line for each part. No part can hold a line's end, and their number is the configuration's,
    /// so that two requests never have the same text.
    fn message(&self, request: &Request, time: &str) -> Option<String> {
        let mut message = String::from(SCHEME);
        let mut line = |text: &str| {
            message.push('\n');
            message.push_str(text);
        };
        line(&request.method());
        line(&request.path());
        line(&request.query());
        line(time);
        for name in &self.signed_headers {
            line(&request.header(name)?);
        }
        Some(message)
    }
}

fn seconds(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > TIMESTAMP_DIGITS_MAX {
        return None;
    }
    let digit = |value: i64, byte: u8| Some(value * 10 + i64::from(char::from(byte).to_digit(10)?));
    text.bytes().try_fold(0, digit)
}
