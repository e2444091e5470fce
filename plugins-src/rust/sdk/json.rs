//! JSON (RFC 8259) as configurations and claims hold it: read strictly, in one pass without
//! recursion, into a flat list of places in the text; texts are decoded when they are asked for. No
//! position of a fault is told: the host has written what is read here.
//!
//! Here as in the whole SDK nothing may panic, not even where it never would: one message of a panic
//! with a number in it brings 10 KB of formatting into the module.

use super::number;
use std::str::{from_utf8_unchecked, Chars};

pub const TEXT_BYTES_MAX: usize = 256 * 1024;
pub const DEPTH_MAX: usize = 16;

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    Number,
    Flag,
    Null,
    List,
    Object,
}

impl Kind {
    /// In a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Number => "a number",
            Kind::Flag => "true or false",
            Kind::Null => "null",
            Kind::List => "a list",
            Kind::Object => "an object",
        }
    }
}

/// A parsed text.
pub struct Document {
    text: String,
    nodes: Vec<Node>,
}

/// A value or a key: its bytes in the text, and the node behind all that it holds.
#[derive(Clone, Copy, Default)]
struct Node {
    start: u32,
    end: u32,
    next: u32,
}

/// One value of a document.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    document: &'a Document,
    at: usize,
}

/// `None` for what is not JSON, or too long, too deep, or holds half of a surrogate pair.
pub fn parse(text: String) -> Option<Document> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let mut reader = Reader {
        bytes: text.as_bytes(),
        at: 0,
        nodes: Vec::new(),
    };
    reader.read()?;
    let nodes = reader.nodes;
    Some(Document { text, nodes })
}

impl Document {
    pub fn root(&self) -> Value {
        Value {
            document: self,
            at: 0,
        }
    }
}

/// The same place of the same document.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.document, other.document) && self.at == other.at
    }
}

impl<'a> Value<'a> {
    pub fn kind(self) -> Kind {
        match self.raw().as_bytes().first() {
            Some(b'"') => Kind::Text,
            Some(b'[') => Kind::List,
            Some(b'{') => Kind::Object,
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Flag,
            _ => Kind::Number,
        }
    }

    /// Its JSON.
    pub fn raw(self) -> &'a str {
        let node = self.node();
        let place = node.start as usize..node.end as usize;
        self.document.text.get(place).unwrap_or_default()
    }

    fn node(self) -> Node {
        self.document
            .nodes
            .get(self.at)
            .copied()
            .unwrap_or_default()
    }

    /// The decoded text; `None` for another kind.
    pub fn text(self) -> Option<String> {
        let quoted = self.raw().strip_prefix('"')?;
        let mut text = String::with_capacity(quoted.len());
        let mut rest = quoted.chars();
        loop {
            match rest.next()? {
                '"' => return Some(text),
                '\\' => text.push(escaped(&mut rest)?),
                plain => text.push(plain),
            }
        }
    }

    /// Exact for up to 15 digits and exponents of ten up to 22, else right but for the last digit.
    pub fn number(self) -> Option<f64> {
        match self.kind() {
            Kind::Number => Some(number::value(self.raw().as_bytes())),
            _ => None,
        }
    }

    pub fn flag(self) -> Option<bool> {
        match self.kind() {
            Kind::Flag => Some(self.raw() == "true"),
            _ => None,
        }
    }

    /// The values of a list; nothing of another kind.
    pub fn items(self) -> Items<'a> {
        self.inner(Kind::List)
    }

    /// Keys and values of an object, in turn; nothing of another kind.
    pub fn entries(self) -> impl Iterator<Item = (Value<'a>, Value<'a>)> {
        let mut inner = self.inner(Kind::Object);
        std::iter::from_fn(move || Some((inner.next()?, inner.next()?)))
    }

    /// The value of a key, the last where it comes again; `None` too where this is no object.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        let named = self.entries().filter(|(own, _)| own.is_text(key));
        named.last().map(|(_, value)| value)
    }

    pub fn is_text(self, wanted: &str) -> bool {
        let raw = self.raw();
        match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
            None => false,
            Some(quoted) if quoted.bytes().any(|byte| byte == b'\\') => {
                self.text().as_deref() == Some(wanted)
            }
            Some(plain) => plain == wanted,
        }
    }

    fn inner(self, kind: Kind) -> Items<'a> {
        let next = self.node().next as usize;
        let is_of_kind = self.kind() == kind;
        Items {
            document: self.document,
            at: if is_of_kind { self.at + 1 } else { next },
            end: next,
        }
    }
}

pub struct Items<'a> {
    document: &'a Document,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.at >= self.end {
            return None;
        }
        let value = Value {
            document: self.document,
            at: self.at,
        };
        self.at = value.node().next as usize;
        Some(value)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl Reader<'_> {
    fn read(&mut self) -> Option<()> {
        // The lists and objects around the place, from the outside in.
        let mut open: Vec<usize> = Vec::new();
        loop {
            let node = self.nodes.len();
            match self.token()? {
                opening @ (b'{' | b'[') => {
                    self.push(self.at);
                    self.at += 1;
                    // `]` is two behind `[`, and `}` behind `{`.
                    if self.token()? == opening + 2 {
                        self.close(node)?;
                    } else if open.len() == DEPTH_MAX {
                        return None;
                    } else {
                        open.push(node);
                        if opening == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended, and with it perhaps what it was the last of.
            loop {
                let around = match open.last() {
                    None => {
                        return if self.token().is_none() {
                            Some(())
                        } else {
                            None
                        }
                    }
                    Some(&around) => around,
                };
                let opening = *self.bytes.get(self.nodes.get(around)?.start as usize)?;
                let next = self.token()?;
                if next == opening + 2 {
                    self.close(around)?;
                    open.pop();
                } else if next == b',' {
                    self.at += 1;
                    if opening == b'{' {
                        self.key()?;
                    }
                    break;
                } else {
                    return None;
                }
            }
        }
    }

    /// The next byte that is not white space; it is not consumed.
    fn token(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                other => return Some(other),
            }
        }
    }

    fn push(&mut self, end: usize) {
        let node = Node {
            start: self.at as u32,
            end: end as u32,
            next: self.nodes.len() as u32 + 1,
        };
        self.nodes.push(node);
    }

    fn close(&mut self, node: usize) -> Option<()> {
        self.at += 1;
        let next = self.nodes.len() as u32;
        let node = self.nodes.get_mut(node)?;
        node.end = self.at as u32;
        node.next = next;
        Some(())
    }

    fn key(&mut self) -> Option<()> {
        if self.token()? != b'"' {
            return None;
        }
        self.scalar()?;
        if self.token()? != b':' {
            return None;
        }
        self.at += 1;
        Some(())
    }

    fn scalar(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        let length = match rest.first()? {
            b'"' => text_length(rest)?,
            b'-' | b'0'..=b'9' => number::length(rest)?,
            _ => [&b"true"[..], b"false", b"null"]
                .iter()
                .find(|word| rest.starts_with(word))?
                .len(),
        };
        self.push(self.at + length);
        self.at += length;
        Some(())
    }
}

/// Bytes of a text with its quotes; `None` when it does not end or holds what no text may.
fn text_length(bytes: &[u8]) -> Option<usize> {
    // The bytes begin with a quote, so they are cut out of the whole at the edge of a character.
    let all = unsafe { from_utf8_unchecked(bytes.get(1..)?) };
    let mut rest = all.chars();
    loop {
        match rest.next()? {
            '"' => return Some(bytes.len() - rest.as_str().len()),
            '\\' => {
                escaped(&mut rest)?;
            }
            '\0'..='\x1f' => return None,
            _ => {}
        }
    }
}

fn escaped(rest: &mut Chars) -> Option<char> {
    match rest.next()? {
        plain @ ('"' | '\\' | '/') => Some(plain),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'u' => match unit(rest)? {
            // Half of a pair: the other half must follow.
            high @ 0xd800..=0xdbff => {
                if rest.next()? != '\\' || rest.next()? != 'u' {
                    return None;
                }
                match unit(rest)? {
                    low @ 0xdc00..=0xdfff => {
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    }
                    _ => None,
                }
            }
            unit => char::from_u32(unit),
        },
        _ => None,
    }
}

/// Four hexadecimal digits.
fn unit(rest: &mut Chars) -> Option<u32> {
    let mut value = 0;
    for _ in 0..4 {
        value = value * 16 + rest.next()?.to_digit(16)?;
    }
    Some(value)
}
