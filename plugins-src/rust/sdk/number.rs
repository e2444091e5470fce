//! Numbers as JSON writes them (RFC 8259, 6). The library's own reader of numbers weighs 10 KB.

/// Bytes of the number that these begin with; `None` when it is none.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(bytes, at);
    if whole == 0 || (whole > 1 && bytes.get(at) == Some(&b'0')) {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        at += 1 + some(digits(bytes, at + 1))?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at += some(digits(bytes, at))?;
    }
    Some(at)
}

fn digits(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn some(count: usize) -> Option<usize> {
    (count > 0).then(|| count)
}

/// The value of a number that `length` has accepted.
pub fn value(number: &[u8]) -> f64 {
    let mut mantissa: u64 = 0;
    let mut tens: i32 = 0;
    let mut is_fraction = false;
    let mut rest = number.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'.' => is_fraction = true,
            b'e' | b'E' => {
                tens += exponent(rest.as_slice());
                break;
            }
            b'0'..=b'9' => {
                // Digits that do not fit only move the point.
                let fits = mantissa < 100_000_000_000_000_000;
                if fits {
                    mantissa = mantissa * 10 + u64::from(byte - b'0');
                }
                tens += i32::from(!fits) - i32::from(is_fraction);
            }
            _ => {}
        }
    }
    let mut value = mantissa as f64;
    while tens != 0 && value != 0.0 && value < f64::INFINITY {
        // Powers of ten up to 22 are exact.
        let step = tens.clamp(-22, 22);
        let power = (0..step.abs()).fold(1.0, |power, _| power * 10.0);
        value = if step > 0 {
            value * power
        } else {
            value / power
        };
        tens -= step;
    }
    if number.first() == Some(&b'-') {
        -value
    } else {
        value
    }
}

fn exponent(text: &[u8]) -> i32 {
    let value = text
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .fold(0, |value: i32, byte| {
            (value * 10 + i32::from(byte - b'0')).min(100_000)
        });
    if text.first() == Some(&b'-') {
        -value
    } else {
        value
    }
}
