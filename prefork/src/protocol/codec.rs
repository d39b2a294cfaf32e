//! Any bytes as a word of the handshake: neither blank nor colon nor anything else that means something
//! there.

use std::ffi::{OsStr, OsString};

use crate::sys;

/// Two digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).collect()
}

/// `None` for what [`hex`] does not make.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Every byte that is not plain becomes `%` and two digits; paths and names stay readable.
pub(crate) fn escape(text: &OsStr) -> String {
    let mut escaped = String::new();
    for byte in text.as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            escaped.push('%');
            escaped.extend(digits(*byte));
        }
    }
    escaped
}

/// `None` for what [`escape`] does not make.
pub(crate) fn unescape(escaped: &str) -> Option<OsString> {
    let mut parts = escaped.as_bytes().split(|byte| *byte == b'%');
    let mut bytes = parts.next()?.to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(byte(digits)?);
        bytes.extend(rest);
    }
    sys::os_string(bytes)
}

fn digits(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 0xf].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
}

fn byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    u8::try_from(value(high)? << 4 | value(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_from_digits() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(from_hex(&hex(&all)), Some(all));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for broken in ["abc", "xy", "+1", "é"] {
            assert_eq!(from_hex(broken), None, "{broken}");
        }
    }

    #[test]
    fn any_text_is_one_word_and_comes_back() {
        for text in ["", "plain-1.2_3/x", "two words", "100% =:,\n\u{e9}"] {
            let escaped = escape(text.as_ref());
            assert!(!escaped.contains([' ', '\n', ':', '=']), "{escaped}");
            assert_eq!(unescape(&escaped), Some(text.into()));
        }
        for broken in ["%4", "%zz", "%+1", "%é"] {
            assert_eq!(unescape(broken), None, "{broken}");
        }
    }
}
