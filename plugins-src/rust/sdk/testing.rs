//! Tests of a plugin without the gateway: `rustc --test plugin.rs` on any machine. A call is written
//! down, a policy decides about it, and the decision is there to look at.
//!
//! ```ignore
//! let decided = testing::get("/orders").header("x-tier", "iron").decide::<Tier>();
//! assert_eq!(decided.status, 403);
//! ```

use super::{config, fail, fake, Policy, Request, Response};

/// A request, what is known of it, and perhaps its response.
#[derive(Clone, Default)]
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: String,
    pub query_params: Vec<(String, String)>,
    pub host: String,
    pub scheme: String,
    pub client_ip: String,
    pub id: String,
    pub route: String,
    pub consumer: String,
    pub body: String,
    pub body_is_whole: bool,
    pub headers: Vec<(String, String)>,
    pub tls: Vec<(String, String)>,
    pub params: Vec<(String, String)>,
    pub values: Vec<(String, String)>,
    /// Each as JSON.
    pub claims: Vec<(String, String)>,
    /// As JSON.
    pub config: String,
    pub response_status: u16,
    pub response_headers: Vec<(String, String)>,
    /// Seconds since 1970.
    pub now_s: u64,
    /// What `grants::kv` holds.
    pub stored: Vec<(String, String)>,
    /// What `grants::call_http` answers.
    pub http_answer: String,
}

/// What was decided. Names of headers are in lower case, an edit's `None` is a removal.
#[derive(Debug, Default, PartialEq)]
pub struct Decided {
    /// 0 when the request was let through.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub reason: String,
    pub path: Option<String>,
    pub request_edits: Vec<(String, Option<String>)>,
    pub response_edits: Vec<(String, Option<String>)>,
    pub response_additions: Vec<(String, String)>,
    pub values: Vec<(String, String)>,
    pub logs: Vec<String>,
    /// Why the call failed: a configuration with faults, or a decision to fail.
    pub error: Option<String>,
}

/// A request as a test begins with one.
pub fn get(path: &str) -> Call {
    Call {
        method: "GET".into(),
        path: path.into(),
        host: "api.example.com".into(),
        scheme: "https".into(),
        client_ip: "192.0.2.1".into(),
        config: "{}".into(),
        ..Call::default()
    }
}

/// All that is wrong with a configuration; empty when nothing is.
pub fn faults<P: Policy>(config: &str) -> String {
    let call = get("/").config(config);
    let decided = fake::stage(call, || {
        config::load::<P>().map_or_else(|why| fail(&why), |_| 0)
    });
    decided.error.unwrap_or_default()
}

impl Call {
    pub fn method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }

    pub fn config(mut self, json: &str) -> Self {
        self.config = json.into();
        self
    }

    pub fn client_ip(mut self, ip: &str) -> Self {
        self.client_ip = ip.into();
        self
    }

    pub fn query(mut self, query: &str) -> Self {
        self.query = query.into();
        self
    }

    pub fn query_param(mut self, name: &str, value: &str) -> Self {
        self.query_params.push((name.into(), value.into()));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn claim(mut self, name: &str, json: &str) -> Self {
        self.claims.push((name.into(), json.into()));
        self
    }

    pub fn now_s(mut self, now_s: u64) -> Self {
        self.now_s = now_s;
        self
    }

    /// The call is then about this response.
    pub fn response(mut self, status: u16, headers: &[(&str, &str)]) -> Self {
        let own = |&(name, value): &(&str, &str)| (name.into(), value.into());
        self.response_status = status;
        self.response_headers = headers.iter().map(own).collect();
        self
    }

    /// Calls the phase that the call is about.
    pub fn decide<P: Policy>(&self) -> Decided {
        let is_response = self.response_status != 0;
        fake::stage(self.clone(), || match config::load::<P>() {
            Err(faults) => fail(&faults),
            Ok(policy) if is_response => policy
                .on_response(&Request::of_this_call(), &Response::of_this_call())
                .carry_out(),
            Ok(policy) => policy.on_request(&Request::of_this_call()).carry_out(),
        })
    }
}
