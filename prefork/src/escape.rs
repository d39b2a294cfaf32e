//! Any bytes as a word of the handoff: neither blank nor colon nor anything else that means something
//! there.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;

use crate::sys;

/// Every byte that is not plain becomes `%` and two digits.
pub(crate) fn escape(text: &OsStr) -> String {
    let mut escaped = String::new();
    for byte in text.as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            // `write!` to a String cannot fail.
            let _ = write!(escaped, "%{byte:02x}");
        }
    }
    escaped
}

/// `None` for what [`escape`] does not make.
pub(crate) fn unescape(escaped: &str) -> Option<OsString> {
    let mut parts = escaped.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    sys::os_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_one_word_and_comes_back() {
        for text in ["", "plain-1.2_3/x", "two words", "100% =:,\n\u{e9}"] {
            let escaped = escape(text.as_ref());
            assert!(!escaped.contains([' ', '\n', ':', '=']), "{escaped}");
            assert_eq!(unescape(&escaped), Some(text.into()));
        }
        assert_eq!(unescape("%4"), None);
        assert_eq!(unescape("%zz"), None);
        assert_eq!(unescape("%é"), None);
    }
}
