//! The one piece of JSON that a configuration needs: a list of strings. Strict (RFC 8259), and
//! without a position of the fault: the host has parsed the configuration before.

use std::str::Chars;

/// The strings of a JSON list; `None` for anything else.
pub fn strings(text: &str) -> Option<Vec<String>> {
    let mut rest = text.chars();
    let mut found = Vec::new();
    if token(&mut rest)? != '[' {
        return None;
    }
    let mut next = token(&mut rest)?;
    if next != ']' {
        loop {
            if next != '"' {
                return None;
            }
            found.push(string(&mut rest)?);
            match token(&mut rest)? {
                ',' => next = token(&mut rest)?,
                ']' => break,
                _ => return None,
            }
        }
    }
    match token(&mut rest) {
        None => Some(found),
        Some(_) => None,
    }
}

/// The next character that is not white space.
fn token(rest: &mut Chars) -> Option<char> {
    rest.find(|next| !matches!(next, ' ' | '\t' | '\n' | '\r'))
}

/// The rest of a string whose quote has been read.
fn string(rest: &mut Chars) -> Option<String> {
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => text.push(escaped(rest)?),
            '\0'..='\x1f' => return None,
            plain => text.push(plain),
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
