//! One condition about one claim, or about a member of a claim that is an object.

use crate::sdk::json::{self, Document, Kind, Value};
use crate::sdk::text::{concat, join};
use crate::sdk::{Request, Table};

/// What a condition says of a request.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Truth {
    Yes,
    No,
    /// The claim is there, and cannot be compared with this.
    Unclear,
}

enum Test {
    Equals(Scalar),
    In(Vec<Scalar>),
    Contains(Scalar),
    HasWord(String),
    Exists(bool),
    AtLeast(f64),
    AtMost(f64),
    Above(f64),
    Below(f64),
}

#[derive(PartialEq)]
enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
}

pub struct Condition {
    claim: String,
    /// Empty: the claim itself.
    key: String,
    test: Test,
}

/// The claims of one request; each is asked for and read once.
pub struct Claims<'r> {
    request: &'r Request,
    read: Vec<(String, Claim)>,
}

enum Claim {
    Missing,
    /// Longer or deeper than the reader takes.
    Unreadable,
    Read(Document),
}

impl<'r> Claims<'r> {
    pub fn of(request: &'r Request) -> Self {
        Claims {
            request,
            read: Vec::new(),
        }
    }

    fn get(&mut self, name: &str) -> &Claim {
        if !self.read.iter().any(|(own, _)| own == name) {
            let claim = match self.request.claim_json(name) {
                None => Claim::Missing,
                Some(text) => json::parse(text).map_or(Claim::Unreadable, Claim::Read),
            };
            self.read.push((name.into(), claim));
        }
        let found = self.read.iter().find(|(own, _)| own == name);
        found.map_or(&Claim::Missing, |(_, claim)| claim)
    }
}

impl Condition {
    pub fn truth(&self, claims: &mut Claims) -> Truth {
        let root = match claims.get(&self.claim) {
            Claim::Missing => return self.test.of_missing(),
            Claim::Unreadable => return Truth::Unclear,
            Claim::Read(document) => document.root(),
        };
        if self.key.is_empty() {
            return self.test.of(root);
        }
        match root.get(&self.key) {
            Some(member) => self.test.of(member),
            None if root.kind() == Kind::Object => self.test.of_missing(),
            None => Truth::Unclear,
        }
    }
}

impl Test {
    fn of_missing(&self) -> Truth {
        truth(matches!(self, Test::Exists(false)))
    }

    fn of(&self, value: Value) -> Truth {
        match self {
            Test::Exists(wanted) => truth(*wanted),
            Test::Equals(wanted) => wanted.is(value),
            Test::In(list) => list.iter().fold(Truth::Unclear, |so_far, wanted| {
                match (so_far, wanted.is(value)) {
                    (Truth::Yes, _) | (_, Truth::Yes) => Truth::Yes,
                    (Truth::No, _) | (_, Truth::No) => Truth::No,
                    _ => Truth::Unclear,
                }
            }),
            Test::Contains(wanted) if value.kind() == Kind::List => {
                truth(value.items().any(|item| wanted.is(item) == Truth::Yes))
            }
            Test::Contains(_) => Truth::Unclear,
            Test::HasWord(wanted) => match value.text() {
                Some(text) => truth(words(&text).any(|word| word == wanted.as_bytes())),
                None => Truth::Unclear,
            },
            Test::AtLeast(bound) => compared(value, |number| number >= *bound),
            Test::AtMost(bound) => compared(value, |number| number <= *bound),
            Test::Above(bound) => compared(value, |number| number > *bound),
            Test::Below(bound) => compared(value, |number| number < *bound),
        }
    }
}

impl Scalar {
    fn read(value: Value) -> Option<Self> {
        let text = value.text().map(Scalar::Text);
        let number = value.number().map(Scalar::Number);
        text.or(number).or_else(|| value.flag().map(Scalar::Flag))
    }

    /// The text 5 is not the number 5, and it is unclear whether it was meant to be.
    fn is(&self, value: Value) -> Truth {
        match (self, Scalar::read(value)) {
            (Scalar::Text(own), Some(Scalar::Text(other))) => truth(*own == other),
            (Scalar::Number(own), Some(Scalar::Number(other))) => truth(*own == other),
            (Scalar::Flag(own), Some(Scalar::Flag(other))) => truth(*own == other),
            _ => Truth::Unclear,
        }
    }
}

#[rustfmt::skip]
const TESTS: [&str; 9] = [
    "equals", "in", "contains", "has_word", "exists", "at_least", "at_most", "above", "below",
];

/// Reads one of `when`; exactly one test is needed.
pub fn read(table: &Table) -> Condition {
    let claim = table.at("claim").required().text("");
    let key = table.at("key").text("");
    let mut test = Test::Exists(table.at("exists").flag(true));
    if let Some(wanted) = scalar(table, "equals") {
        test = Test::Equals(wanted);
    }
    if let Some(wanted) = scalar(table, "contains") {
        test = Test::Contains(wanted);
    }
    if let Some(list) = table.at("in").value() {
        match list.items().map(Scalar::read).collect() {
            Some(scalars) if list.items().next().is_some() => test = Test::In(scalars),
            _ => table.fault("in", "must be a list of texts, numbers, true and false"),
        }
    }
    let word = table.at("has_word").text("");
    if table.has("has_word") {
        test = Test::HasWord(word);
    }
    for (name, of) in [
        ("at_least", Test::AtLeast as fn(f64) -> Test),
        ("at_most", Test::AtMost),
        ("above", Test::Above),
        ("below", Test::Below),
    ] {
        let bound = table.at(name).number(0.0);
        if table.has(name) {
            test = of(bound);
        }
    }
    if TESTS.iter().filter(|name| table.has(name)).count() != 1 {
        table.fault(
            "claim",
            &concat(&["needs exactly one of ", &join(&TESTS, ", ")]),
        );
    }
    Condition { claim, key, test }
}

fn scalar(table: &Table, name: &'static str) -> Option<Scalar> {
    let scalar = Scalar::read(table.at(name).value()?);
    if scalar.is_none() {
        table.fault(name, "must be a text, a number, true or false");
    }
    scalar
}

fn compared(value: Value, compare: impl FnOnce(f64) -> bool) -> Truth {
    value
        .number()
        .map_or(Truth::Unclear, |number| truth(compare(number)))
}

fn truth(is: bool) -> Truth {
    if is {
        Truth::Yes
    } else {
        Truth::No
    }
}

/// As OAuth separates scopes.
fn words(text: &str) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(|&byte| byte == b' ')
}
