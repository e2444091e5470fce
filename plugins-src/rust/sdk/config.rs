//! The attachment's configuration, read by key and type. What is wrong is gathered, all of it, in
//! sentences that name the key and never show a value: a value may be a secret. Keys that nobody
//! asked for are wrong too.

use super::host::{self, give, take};
use super::json::{self, Kind, Value};
use super::text::{concat, digits, join};
use super::Policy;
use std::cell::Cell;
use std::ops::RangeInclusive;

/// Sentences that are told; the others are counted.
const FAULTS_MAX: usize = 12;

/// Makes a policy of the attachment's configuration, or says all that is wrong with it.
pub fn load<P: Policy>() -> Result<P, String> {
    let faults = Faults::default();
    let text = take(unsafe { host::config_get(give("config")) }).unwrap_or_default();
    let document = json::parse(text);
    let root = document.as_ref().map(json::Document::root);
    match root.filter(|root| root.kind() == Kind::Object) {
        None => Err("the configuration is no object, or too long or too deep".into()),
        Some(root) => {
            let table = Table::of(root, String::new(), &faults);
            let policy = P::new(&table);
            drop(table);
            faults.result(policy)
        }
    }
}

// Cells and no RefCell, which could panic.
#[derive(Default)]
struct Faults {
    told: Cell<Vec<String>>,
    untold: Cell<usize>,
}

impl Faults {
    fn add(&self, sentence: String) {
        let mut told = self.told.take();
        if told.len() < FAULTS_MAX {
            told.push(sentence);
        } else {
            self.untold.set(self.untold.get() + 1);
        }
        self.told.set(told);
    }

    fn result<P>(self, policy: P) -> Result<P, String> {
        let mut told = self.told.take();
        if told.is_empty() {
            return Ok(policy);
        }
        if self.untold.get() > 0 {
            told.push(concat(&["and ", &digits(self.untold.get()), " more"]));
        }
        Err(join(&told, "; "))
    }
}

/// An object of the configuration: the whole of it, or one that a key holds.
pub struct Table<'a> {
    value: Value<'a>,
    /// `rules[2]`; empty for the whole.
    name: String,
    faults: &'a Faults,
    asked: Cell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    fn of(value: Value<'a>, name: String, faults: &'a Faults) -> Self {
        Table {
            value,
            name,
            faults,
            asked: Cell::default(),
        }
    }

    /// The field of a key, to be read as one type.
    pub fn at<'t>(&'t self, key: &'static str) -> Field<'t, 'a> {
        let mut asked = self.asked.take();
        asked.push(key);
        self.asked.set(asked);
        Field {
            table: self,
            key,
            value: self.value.get(key),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// Notes that the value of `key` is wrong: "`key` must start with a slash".
    pub fn fault(&self, key: &str, sentence: &str) {
        self.faults.add(concat(&[&self.path(key), " ", sentence]));
    }

    fn path(&self, key: &str) -> String {
        let dot = if self.name.is_empty() || key.is_empty() {
            ""
        } else {
            "."
        };
        concat(&[&self.name, dot, key])
    }
}

/// Where the last key was asked for, those that were not are told.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let asked = self.asked.take();
        for (key, _) in self.value.entries() {
            if !asked.iter().any(|asked| key.is_text(asked)) {
                let key: String = key.text().unwrap_or_default().chars().take(60).collect();
                self.fault(
                    &key,
                    &concat(&["is not one of the keys ", &join(&asked, ", ")]),
                );
            }
        }
    }
}

/// What a key holds. A missing one is its default; one of another type is a fault, and its default.
pub struct Field<'t, 'a> {
    table: &'t Table<'a>,
    key: &'static str,
    value: Option<Value<'a>>,
}

impl<'t, 'a> Field<'t, 'a> {
    /// Notes that a missing key is wrong, and an empty list.
    pub fn required(self) -> Self {
        if self.value.is_none() {
            self.table.fault(self.key, "is missing");
        }
        self.filled()
    }

    /// Notes that an empty list is wrong: one that allows nobody reads much like one that is left out.
    pub fn filled(self) -> Self {
        let is_empty = |list: Value| list.kind() == Kind::List && list.items().next().is_none();
        if self.value.map_or(false, is_empty) {
            self.table.fault(self.key, "must not be empty");
        }
        self
    }

    pub fn text(self, default: &str) -> String {
        self.read(Kind::Text, "a text", Value::text)
            .unwrap_or_else(|| default.into())
    }

    /// A header's name, in lower case; what plugins may ask for and set, but for the gateway's own.
    pub fn header_name(self, default: &str) -> String {
        let name = |value: Value| value.text().filter(|name| is_token(name));
        self.read(Kind::Text, "a header's name", name)
            .map_or_else(|| default.into(), |name| name.to_ascii_lowercase())
    }

    /// The place in `allowed` of a text that must be one of these; the first is the default.
    pub fn choice(self, allowed: &[&str]) -> usize {
        let must = concat(&["one of ", &join(allowed, ", ")]);
        let place = |value: Value| allowed.iter().position(|word| value.is_text(word));
        self.read(Kind::Text, &must, place).unwrap_or(0)
    }

    pub fn number(self, default: f64) -> f64 {
        self.read(Kind::Number, "a number", Value::number)
            .unwrap_or(default)
    }

    pub fn whole(self, default: u32, range: RangeInclusive<u32>) -> u32 {
        let (least, most) = range.into_inner();
        let (least_text, most_text) = (digits(least as usize), digits(most as usize));
        let must = concat(&["a whole number from ", &least_text, " to ", &most_text]);
        let read = |value: Value| {
            let number = value.number()?;
            let is_in = number == number.trunc() && number >= least.into() && number <= most.into();
            is_in.then(|| number as u32)
        };
        self.read(Kind::Number, &must, read).unwrap_or(default)
    }

    pub fn flag(self, default: bool) -> bool {
        self.read(Kind::Flag, "true or false", Value::flag)
            .unwrap_or(default)
    }

    /// A list of texts; empty when the key is missing.
    pub fn texts(self) -> Vec<String> {
        let texts = |list: Value| list.items().map(Value::text).collect();
        self.read(Kind::List, "a list of texts", texts)
            .unwrap_or_default()
    }

    /// A list of objects; empty when the key is missing.
    pub fn tables(self) -> Vec<Table<'a>> {
        let Field { table, key, .. } = self;
        let list = self.read(Kind::List, "a list of objects", |value| {
            let is_all = value.items().all(|item| item.kind() == Kind::Object);
            is_all.then(|| value.items())
        });
        let named = |index| concat(&[&table.path(key), "[", &digits(index), "]"]);
        list.into_iter()
            .flatten()
            .enumerate()
            .map(|(index, item)| Table::of(item, named(index), table.faults))
            .collect()
    }

    /// An object; `None` when the key is missing.
    pub fn table(self) -> Option<Table<'a>> {
        let Field { table, key, .. } = self;
        let value = self.read(Kind::Object, "an object", Some)?;
        Some(Table::of(value, table.path(key), table.faults))
    }

    /// Whatever it is.
    pub fn value(self) -> Option<Value<'a>> {
        self.value
    }

    fn read<T>(self, kind: Kind, must: &str, read: impl Fn(Value<'a>) -> Option<T>) -> Option<T> {
        let value = self.value?;
        if value.kind() != kind {
            let said = concat(&["must be ", must, ", not ", value.kind().name()]);
            self.table.fault(self.key, &said);
            return None;
        }
        let found = read(value);
        if found.is_none() {
            self.table.fault(self.key, &concat(&["must be ", must]));
        }
        found
    }
}

/// RFC 9110, 5.6.2: 1 to 128 characters of a token.
pub fn is_token(name: &str) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".iter().any(|&mark| mark == byte);
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || is_mark(byte);
    !name.is_empty() && name.len() <= 128 && name.bytes().all(is_fine)
}
