//! Paths as the gateway shows them: in normal form.

/// True for a path as `Request::path` may answer it: what a prefix must be, or it never matches.
pub fn is_normal(path: &str) -> bool {
    let mut rest = match path.as_bytes() {
        [b'/', rest @ ..] => rest,
        _ => return false,
    };
    // Only the last segment may be empty.
    while let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
        match (rest.get(..slash), rest.get(slash + 1..)) {
            (Some(segment @ [_, ..]), Some(after)) if is_segment(segment) => rest = after,
            _ => return false,
        }
    }
    is_segment(rest)
}

fn is_segment(segment: &[u8]) -> bool {
    // Servers that strip parameters late see a dot segment in `..;x` too.
    let is_dots = match segment {
        [b'.', b'.', rest @ ..] | [b'.', rest @ ..] => {
            matches!(rest, [] | [b';', ..] | [b'%', b'3', b'B', ..])
        }
        _ => false,
    };
    let mut bytes = segment.iter().copied();
    let mut is_fine = !is_dots;
    while let Some(byte) = bytes.next() {
        is_fine &= match byte {
            b'%' => is_escape(bytes.next(), bytes.next()),
            _ => is_unreserved(byte) || is_one_of(byte, b"!$&'()*+,;=:@"),
        };
    }
    is_fine
}

/// Capital digits, and a byte that has to be escaped and may be.
fn is_escape(high: Option<u8>, low: Option<u8>) -> bool {
    let digit = |digit: Option<u8>| match digit {
        Some(digit @ b'0'..=b'9') => Some(digit - b'0'),
        Some(digit @ b'A'..=b'F') => Some(digit - b'A' + 10),
        _ => None,
    };
    match (digit(high), digit(low)) {
        (Some(high), Some(low)) => {
            let byte = high * 16 + low;
            byte > 31 && byte != 127 && byte != b'/' && byte != b'\\' && !is_unreserved(byte)
        }
        _ => false,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || is_one_of(byte, b"-._~")
}

/// True for the prefix itself and all below it, segment by segment: `/a` and `/a/b`, not `/ab`. A
/// slash at the prefix's end means nothing.
pub fn lies_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix.strip_suffix('/').unwrap_or(prefix)) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// `/admin;v=1/users` is `/admin/users` to servers that know path parameters.
pub fn without_parameters(path: &str) -> String {
    let mut is_kept = true;
    path.chars()
        .filter(|next| {
            match next {
                '/' => is_kept = true,
                ';' => is_kept = false,
                _ => {}
            }
            is_kept
        })
        .collect()
}

// Not `contains`: its search by words weighs 2 KB.
fn is_one_of(byte: u8, all: &[u8]) -> bool {
    all.iter().any(|&one| one == byte)
}
