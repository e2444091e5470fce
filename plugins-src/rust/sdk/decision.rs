//! What a plugin may decide, as values that a phase returns. Texts cross to the host when they are
//! given; nothing of a decision that is dropped ever reaches it.

use super::host::{self, give};

enum Edit {
    SetRequest,
    RemoveRequest,
    SetResponse,
    AddResponse,
    RemoveResponse,
    AnswerHeader,
    Path,
    Value,
}

/// Edits in order, each with the handles of its name and its value.
struct Edits(Vec<(Edit, u64, u64)>);

impl Edits {
    fn push(&mut self, edit: Edit, name: &str, value: &str) {
        self.0.push((edit, give(name), give(value)));
    }

    fn carry_out(&self) {
        for &(ref edit, name, value) in &self.0 {
            unsafe {
                match edit {
                    Edit::SetRequest => host::set_request_header(name, value),
                    Edit::RemoveRequest => host::remove_request_header(name),
                    Edit::SetResponse => host::set_response_header(name, value),
                    Edit::AddResponse => host::add_response_header(name, value),
                    Edit::RemoveResponse => host::remove_response_header(name),
                    Edit::AnswerHeader => host::respond_header(name, value),
                    Edit::Path => host::set_path(name),
                    Edit::Value => host::value_set(name, value),
                }
            }
        }
    }
}

enum Outcome {
    Pass,
    Respond(u16, u64),
    Fail(u64),
}

/// What becomes of a request.
#[must_use = "a decision counts when it is returned"]
pub struct Decision {
    outcome: Outcome,
    reason: u64,
    edits: Edits,
}

impl Decision {
    fn of(outcome: Outcome) -> Self {
        Decision {
            outcome,
            reason: 0,
            edits: Edits(Vec::new()),
        }
    }

    /// On to the next plugin, and at last to the upstream.
    pub fn pass() -> Self {
        Self::of(Outcome::Pass)
    }

    /// Answers here; the request does not reach the upstream.
    pub fn respond(status: u16, body: &str) -> Self {
        Self::of(Outcome::Respond(status, give(body)))
    }

    /// The same, where it is a refusal; say why with `because`.
    pub fn deny(status: u16, body: &str) -> Self {
        Self::respond(status, body)
    }

    /// Fails the call: the attachment's fail_mode decides what becomes of the request.
    pub fn fail(message: &str) -> Self {
        Self::of(Outcome::Fail(give(message)))
    }

    /// For the log and metrics, never for the client.
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = give(reason);
        self
    }

    /// A header of the answer of `respond`; a name may come again.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.edit(Edit::AnswerHeader, name, value)
    }

    /// Replaces the request's headers of this name on their way to the upstream.
    pub fn set_request_header(self, name: &str, value: &str) -> Self {
        self.edit(Edit::SetRequest, name, value)
    }

    pub fn remove_request_header(self, name: &str) -> Self {
        self.edit(Edit::RemoveRequest, name, "")
    }

    /// Replaces the headers of this name of the response, whoever makes it.
    pub fn set_response_header(self, name: &str, value: &str) -> Self {
        self.edit(Edit::SetResponse, name, value)
    }

    /// One more header of this name, as Set-Cookie needs.
    pub fn add_response_header(self, name: &str, value: &str) -> Self {
        self.edit(Edit::AddResponse, name, value)
    }

    pub fn remove_response_header(self, name: &str) -> Self {
        self.edit(Edit::RemoveResponse, name, "")
    }

    /// The path to the upstream, in normal form; the route stays.
    pub fn set_path(self, path: &str) -> Self {
        self.edit(Edit::Path, path, "")
    }

    /// A value for later plugins and the access log.
    pub fn set_value(self, name: &str, value: &str) -> Self {
        self.edit(Edit::Value, name, value)
    }

    fn edit(mut self, edit: Edit, name: &str, value: &str) -> Self {
        self.edits.push(edit, name, value);
        self
    }

    pub(super) fn carry_out(&self) -> i32 {
        unsafe {
            match self.outcome {
                Outcome::Pass => {}
                Outcome::Respond(status, body) => host::respond(status.into(), body),
                Outcome::Fail(message) => {
                    host::error_set(message);
                    return 1;
                }
            }
            if self.reason != 0 {
                host::reason(self.reason);
            }
        }
        self.edits.carry_out();
        0
    }
}

/// What becomes of a response's headers.
#[must_use = "edits count when they are returned"]
pub struct ResponseEdits {
    edits: Edits,
    failure: u64,
}

impl ResponseEdits {
    pub fn none() -> Self {
        ResponseEdits {
            edits: Edits(Vec::new()),
            failure: 0,
        }
    }

    /// Fails the call: the attachment's fail_mode decides what becomes of the response.
    pub fn fail(message: &str) -> Self {
        ResponseEdits {
            failure: give(message),
            ..Self::none()
        }
    }

    /// Replaces the headers of this name.
    pub fn set_header(self, name: &str, value: &str) -> Self {
        self.edit(Edit::SetResponse, name, value)
    }

    /// One more header of this name.
    pub fn add_header(self, name: &str, value: &str) -> Self {
        self.edit(Edit::AddResponse, name, value)
    }

    pub fn remove_header(self, name: &str) -> Self {
        self.edit(Edit::RemoveResponse, name, "")
    }

    /// A value for later plugins and the access log.
    pub fn set_value(self, name: &str, value: &str) -> Self {
        self.edit(Edit::Value, name, value)
    }

    fn edit(mut self, edit: Edit, name: &str, value: &str) -> Self {
        self.edits.push(edit, name, value);
        self
    }

    pub(super) fn carry_out(&self) -> i32 {
        if self.failure != 0 {
            unsafe { host::error_set(self.failure) };
            return 1;
        }
        self.edits.carry_out();
        0
    }
}
