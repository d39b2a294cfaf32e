//! Records: lines of text with named fields.
//!
//! ```text
//! kind name=value name=value
//! ```
//!
//! In a value every byte that is not plain is `%` and two digits, so that any bytes survive, and paths
//! and names stay readable. The items of a list end with a comma each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::sys;

/// One line: its kind, and its fields by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: String,
    /// As they are written.
    fields: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new(kind: &str) -> Self {
        Self { kind: kind.to_owned(), fields: BTreeMap::new() }
    }

    /// Adds a field.
    pub(super) fn with<T: FieldValue>(mut self, name: &str, value: &T) -> Self {
        self.fields.insert(name.to_owned(), value.write());
        self
    }

    /// Adds a field, if there is a value.
    pub(super) fn with_some<T: FieldValue>(self, name: &str, value: Option<&T>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// A field; `None` if the writer did not write it.
    ///
    /// # Errors
    ///
    /// `InvalidData` if there is something else in the field.
    pub(super) fn get<T: FieldValue>(&self, name: &str) -> io::Result<Option<T>> {
        let Some(text) = self.fields.get(name) else { return Ok(None) };
        T::read(text).map(Some).ok_or_else(|| self.invalid(name, text))
    }

    /// A field; its default if the writer did not write it.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub(super) fn get_or<T: FieldValue>(&self, name: &str, default: T) -> io::Result<T> {
        self.get(name).map(|value| value.unwrap_or(default))
    }

    /// A field that every writer writes.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); and `InvalidData` if it is missing.
    pub(super) fn require<T: FieldValue>(&self, name: &str) -> io::Result<T> {
        self.get(name)?.ok_or_else(|| invalid(format!("`{}` lacks its field `{name}`", self.kind)))
    }

    fn invalid(&self, name: &str, text: &str) -> io::Error {
        invalid(format!("`{}` has `{text}` in its field `{name}`", self.kind))
    }

    pub(super) fn to_line(&self) -> String {
        let mut line = self.kind.clone();
        for (name, value) in &self.fields {
            line.extend([" ", name, "=", value]);
        }
        line
    }

    /// Reads a line. What has no form of a field is skipped.
    pub(super) fn from_line(line: &str) -> Self {
        let mut words = line.split_ascii_whitespace();
        let kind = words.next().unwrap_or_default().to_owned();
        let fields = words.filter_map(|word| word.split_once('='));
        Self { kind, fields: fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect() }
    }
}

pub(super) fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The records of a text, line by line.
pub(super) fn records(text: &str) -> impl Iterator<Item = Record> {
    text.lines().map(Record::from_line)
}

/// The text of several records.
pub(super) fn text_of(records: impl IntoIterator<Item = Record>) -> String {
    records.into_iter().map(|record| record.to_line() + "\n").collect()
}

/// What can be in a field.
pub(super) trait FieldValue: Sized {
    fn write(&self) -> String;

    /// `None` for what `write` does not make.
    fn read(text: &str) -> Option<Self>;
}

/// Numbers and booleans: their usual text.
macro_rules! plain {
    ($($type:ty),*) => {$(
        impl FieldValue for $type {
            fn write(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
        }
    )*};
}

plain!(u32, u64, usize, i32, bool);

/// Milliseconds.
impl FieldValue for Duration {
    fn write(&self) -> String {
        self.as_millis().to_string()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok().map(Self::from_millis)
    }
}

impl FieldValue for Vec<u8> {
    fn write(&self) -> String {
        escape(self)
    }

    fn read(text: &str) -> Option<Self> {
        unescape(text)
    }
}

impl FieldValue for String {
    fn write(&self) -> String {
        escape(self.as_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        Self::from_utf8(unescape(text)?).ok()
    }
}

impl FieldValue for OsString {
    fn write(&self) -> String {
        escape(self.as_encoded_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        sys::os_string(unescape(text)?)
    }
}

impl FieldValue for PathBuf {
    fn write(&self) -> String {
        escape(self.as_os_str().as_encoded_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        OsString::read(text).map(Self::from)
    }
}

/// What a list can hold; bytes are no list.
pub(super) trait Item: FieldValue {}

impl Item for u32 {}
impl Item for usize {}
impl Item for Duration {}
impl Item for PathBuf {}

/// A list of values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T: Item> FieldValue for List<T> {
    fn write(&self) -> String {
        self.0.iter().map(|item| item.write() + ",").collect()
    }

    fn read(text: &str) -> Option<Self> {
        text.split_terminator(',').map(T::read).collect::<Option<_>>().map(Self)
    }
}

fn escape(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"/._-+:".contains(byte) {
            escaped.push(char::from(*byte));
        } else {
            let digits = [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
            escaped.extend(['%', char::from(digits[0]), char::from(digits[1])]);
        }
    }
    escaped
}

fn unescape(escaped: &str) -> Option<Vec<u8>> {
    let mut parts = escaped.as_bytes().split(|byte| *byte == b'%');
    let mut bytes = parts.next()?.to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        bytes.extend(rest);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_survive(bytes in any::<Vec<u8>>(), number in any::<u64>(), numbers in any::<Vec<u32>>()) {
            let record = Record::new("kind")
                .with("bytes", &bytes)
                .with("number", &number)
                .with("numbers", &List(numbers.clone()));
            let line = record.to_line();
            prop_assert!(!line.contains('\n'));
            let read = Record::from_line(&line);
            prop_assert_eq!(&read, &record);
            prop_assert_eq!(read.require::<Vec<u8>>("bytes").unwrap(), bytes);
            prop_assert_eq!(read.require::<u64>("number").unwrap(), number);
            prop_assert_eq!(read.require::<List<u32>>("numbers").unwrap().0, numbers);
        }

        #[test]
        fn any_text_can_be_read_without_a_panic(text in any::<String>()) {
            for record in records(&text) {
                for name in record.fields.keys() {
                    let _ = record.get::<Vec<u8>>(name);
                    let _ = record.get::<List<PathBuf>>(name);
                    let _ = record.get::<Duration>(name);
                }
            }
        }
    }

    #[test]
    fn lists_of_nothing_and_of_one_empty_item_differ() {
        for paths in [vec![], vec![PathBuf::new()], vec![PathBuf::from("a,b"), PathBuf::new()]] {
            assert_eq!(List::read(&List(paths.clone()).write()), Some(List(paths)));
        }
    }

    #[test]
    fn bad_values_are_errors_and_missing_ones_are_not() {
        let record = Record::from_line("kind a=%4 b=%zz c=-1 d word");
        assert!(record.get::<Vec<u8>>("a").is_err() && record.get::<Vec<u8>>("b").is_err());
        assert!(record.get::<u32>("c").is_err());
        assert_eq!(record.get::<u32>("d").unwrap(), None);
        assert_eq!(record.get_or("e", 5_u32).unwrap(), 5);
        let reason = record.require::<u32>("e").unwrap_err().to_string();
        assert_eq!(reason, "`kind` lacks its field `e`");
    }
}
