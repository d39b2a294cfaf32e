//! Values of JSON. The documents are written with `format!`: they are small, and their fields are fixed.

use std::fmt::Write as _;
use std::time::Duration;

/// A string.
pub(crate) fn text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // The last two end a line in JavaScript.
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                // `write!` to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A number of seconds, with milliseconds.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64())
}

/// A number, or `null`.
pub(crate) fn or_null(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(text("a \"b\" \\ ü"), r#""a \"b\" \\ ü""#);
        assert_eq!(text("\n\u{1b}\u{85}\u{2028}"), r#""\u000a\u001b\u0085\u2028""#);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(seconds(Duration::from_micros(1_234_567)), "1.235");
        assert_eq!(or_null(None::<u32>), "null");
        assert_eq!(or_null(Some(7)), "7");
    }
}
