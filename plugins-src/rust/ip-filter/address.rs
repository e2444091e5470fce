//! Addresses and ranges of them. An IPv4 address that is written as IPv6 (`::ffff:192.0.2.1`) is the
//! IPv4 address, so that it cannot be used to pass beside a rule.

/// 32 or 128 bits, at the low end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub is_v4: bool,
    pub bits: u128,
}

const MAPPED: u128 = 0xffff_0000_0000;
const MAPPED_BITS: u32 = 96;

impl Address {
    /// `None` for anything but one address in the usual writing; zones are not.
    pub fn parse(text: &str) -> Option<Self> {
        let address = Self::written(text)?;
        if address.is_v4 || address.bits >> 32 != MAPPED >> 32 {
            return Some(address);
        }
        Some(Address {
            is_v4: true,
            bits: address.bits & 0xffff_ffff,
        })
    }

    fn written(text: &str) -> Option<Self> {
        match parse_v4(text.as_bytes()) {
            Some(bits) => Some(Address {
                is_v4: true,
                bits: bits.into(),
            }),
            None => parse_v6(text.as_bytes()).map(|bits| Address { is_v4: false, bits }),
        }
    }
}

/// Ranges of both families; sorted and joined, so that a search halves them.
pub struct Ranges {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    pub fn new() -> Self {
        Ranges {
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }

    /// Adds `10.0.0.0/8` or one address; or says what is wrong with it.
    pub fn add(&mut self, text: &str) -> Result<(), &'static str> {
        const WRONG: &str = "must be an address or a range such as 10.0.0.0/8 or 2001:db8::/32";
        let bytes = text.as_bytes();
        let slash = bytes.iter().position(|&byte| byte == b'/');
        let written = Address::written(text.get(..slash.unwrap_or(text.len())).ok_or(WRONG)?);
        let written = written.ok_or(WRONG)?;
        let width = if written.is_v4 { 32 } else { 128 };
        let prefix = match slash.and_then(|slash| bytes.get(slash + 1..)) {
            None => width,
            Some(length) => decimal(length, 3)
                .filter(|&length| length <= width)
                .ok_or(WRONG)?,
        };
        let inside = span(width - prefix);
        if written.bits & inside != 0 {
            return Err("must have no bits behind its length: write 10.0.0.0/8, not 10.1.2.3/8");
        }
        let is_mapped = !written.is_v4 && written.bits >> 32 == MAPPED >> 32;
        // `::/0` is all of IPv6, and no IPv4.
        let (list, first) = if is_mapped && prefix >= MAPPED_BITS {
            (&mut self.v4, written.bits & 0xffff_ffff)
        } else if written.is_v4 {
            (&mut self.v4, written.bits)
        } else {
            (&mut self.v6, written.bits)
        };
        list.push((first, first | inside));
        Ok(())
    }

    /// To be called once, behind the last `add`.
    pub fn order(&mut self) {
        self.v4 = joined(&mut self.v4);
        self.v6 = joined(&mut self.v6);
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub fn contains(&self, address: Address) -> bool {
        let list = if address.is_v4 { &self.v4 } else { &self.v6 };
        // Of the ranges that begin at or before the address, the last one.
        let behind = list.partition_point(|&(first, _)| first <= address.bits);
        let range = behind.checked_sub(1).and_then(|at| list.get(at));
        range.map_or(false, |&(_, last)| address.bits <= last)
    }
}

/// As many ones at the low end.
fn span(bits: u32) -> u128 {
    1_u128
        .checked_shl(bits)
        .map_or(u128::MAX, |next| next.wrapping_sub(1))
}

fn joined(ranges: &mut [(u128, u128)]) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut all: Vec<(u128, u128)> = Vec::new();
    for &(first, last) in ranges.iter() {
        match all.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => all.push((first, last)),
        }
    }
    all
}

/// Four decimal numbers without leading zeros, which some readers take for octal.
fn parse_v4(text: &[u8]) -> Option<u32> {
    let mut bits: u32 = 0;
    let mut count = 0;
    let parts = Parts {
        rest: Some(text),
        mark: b'.',
    };
    for part in parts {
        let octet = decimal(part, 3).filter(|&octet| octet <= 255)?;
        bits = bits << 8 | octet;
        count += 1;
        if count > 4 {
            return None;
        }
    }
    (count == 4).then(|| bits)
}

/// Groups of up to four hexadecimal digits, once `::` for those that are 0, and an IPv4 at the end.
fn parse_v6(text: &[u8]) -> Option<u128> {
    let gap = text
        .iter()
        .zip(text.iter().skip(1))
        .position(|pair| pair == (&b':', &b':'));
    let (head, tail) = match gap {
        None => (text, None),
        Some(at) => (text.get(..at)?, Some(text.get(at + 2..)?)),
    };
    let (high, high_bits) = groups(head, tail.is_none())?;
    let tail = match tail {
        None => return (high_bits == 128).then(|| high),
        Some(tail) => tail,
    };
    let (low, low_bits) = groups(tail, true)?;
    // The gap stands for one group at least.
    if high_bits + low_bits > 112 {
        return None;
    }
    let shifted = high.checked_shl(128 - high_bits).unwrap_or(0);
    Some(shifted | low)
}

/// The bits of groups between colons, and their number.
fn groups(text: &[u8], may_end_in_v4: bool) -> Option<(u128, u32)> {
    let (mut bits, mut count) = (0_u128, 0);
    if text.is_empty() {
        return Some((bits, count));
    }
    let mut parts = Parts {
        rest: Some(text),
        mark: b':',
    };
    while let Some(part) = parts.next() {
        let is_v4 = may_end_in_v4 && parts.rest.is_none() && part.iter().any(|&byte| byte == b'.');
        let (value, width) = if is_v4 {
            (parse_v4(part)?, 32)
        } else {
            (group(part)?, 16)
        };
        bits = bits << width | u128::from(value);
        count += width;
        if count > 128 {
            return None;
        }
    }
    Some((bits, count))
}

fn group(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    let digit = |value: u32, &byte: &u8| Some(value << 4 | char::from(byte).to_digit(16)?);
    digits.iter().try_fold(0, digit)
}

/// A number of at most so many digits, without leading zeros.
fn decimal(text: &[u8], digits_max: usize) -> Option<u32> {
    let has_zero = text.len() > 1 && text.first() == Some(&b'0');
    if text.is_empty() || text.len() > digits_max || has_zero {
        return None;
    }
    let digit = |value: u32, &byte: &u8| Some(value * 10 + char::from(byte).to_digit(10)?);
    text.iter().try_fold(0, digit)
}

/// What stands between marks; `split` of the library weighs more.
struct Parts<'a> {
    rest: Option<&'a [u8]>,
    mark: u8,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match rest.iter().position(|&byte| byte == self.mark) {
            None => {
                self.rest = None;
                Some(rest)
            }
            Some(at) => {
                self.rest = rest.get(at + 1..);
                rest.get(..at)
            }
        }
    }
}
