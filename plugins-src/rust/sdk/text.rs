//! Texts put together without the weight of `format!` and `concat`.

pub fn concat(parts: &[&str]) -> String {
    join(parts, "")
}

pub fn join<T: AsRef<str>>(parts: &[T], between: &str) -> String {
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        text.push_str(part.as_ref());
    }
    text
}

/// A number in decimal digits.
pub fn digits(number: usize) -> String {
    let digit = char::from(b'0' + (number % 10) as u8);
    // As deep as the number is long.
    let mut text = if number < 10 {
        String::new()
    } else {
        digits(number / 10)
    };
    text.push(digit);
    text
}
