//! The codec of every message between processes of a fleet.
//!
//! A message is text. Each line is a [`Record`]: a kind, then fields `key=value`, separated by blanks:
//!
//! ```text
//! prefork-secrets/1
//! file path=/etc/ssl/app.pem content=-----BEGIN%20CERTIFICATE-----%0aMIIB…
//! tickets epoch=41000 state=%00%17c… check=5f0c11d2
//! ```
//!
//! - In a value, `%` and every byte that is not printable ASCII is written as `%` and two hexadecimal
//!   digits. Any bytes survive, and a message can be read in the output of strace.
//! - A key that occurs several times is a list.
//! - A reader skips kinds and keys that it does not know. For a missing field it chooses between a
//!   default ([`Record::find`]) and an error that names the field ([`Record::get`]).
//! - A [`Format`] adds a version to the first kind and a checksum at the end. A message that was cut
//!   short or altered is refused as a whole: a field that is lost, such as the user to run as, is never
//!   mistaken for a field that was not sent.
//!
//! The codec is written by hand because serde with serde_json would bring the default features to 30
//! crates, of which 28 are allowed, and postcard cannot skip fields that it does not know.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::sys;

/// A type that can be the value of a field.
pub(super) trait FieldValue: Sized {
    fn to_bytes(&self) -> Cow<'_, [u8]>;

    /// `None` if no value of the type is written like this.
    fn from_bytes(bytes: Vec<u8>) -> Option<Self>;
}

/// One line of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    line: String,
}

impl Record {
    /// A record without fields. `kind` is a word of printable ASCII.
    pub(super) fn new(kind: &str) -> Self {
        Self { line: kind.to_owned() }
    }

    /// Reads a line. A malformed field is an error only when it is read.
    pub(super) fn parse(line: &str) -> Self {
        Self::new(line)
    }

    pub(super) fn kind(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The record by itself as a message.
    pub(super) fn to_line(&self) -> String {
        self.line.clone()
    }

    /// Adds a field.
    pub(super) fn with<T: FieldValue>(mut self, key: &str, value: &T) -> Self {
        self.line.extend([" ", key, "="]);
        escape(&value.to_bytes(), &mut self.line);
        self
    }

    /// Adds a field for each element of a list or an `Option`.
    pub(super) fn with_each<'a, T: FieldValue + 'a>(
        self,
        key: &str,
        values: impl IntoIterator<Item = &'a T>,
    ) -> Self {
        values.into_iter().fold(self, |record, value| record.with(key, value))
    }

    /// The value of a required field.
    pub(super) fn get<T: FieldValue>(&self, key: &str) -> io::Result<T> {
        self.find(key)?.ok_or_else(|| invalid(format!("`{}` has no field `{key}`", self.kind())))
    }

    /// The value of a field that an older program may leave out.
    pub(super) fn find<T: FieldValue>(&self, key: &str) -> io::Result<Option<T>> {
        self.values(key).next().transpose()
    }

    /// The values of every field with this key.
    pub(super) fn all<T: FieldValue>(&self, key: &str) -> io::Result<Vec<T>> {
        self.values(key).collect()
    }

    fn values<T: FieldValue>(&self, key: &str) -> impl Iterator<Item = io::Result<T>> {
        // The message leaves the value out: it may be a private key.
        let bad = move || invalid(format!("`{}` has a field `{key}` that cannot be read", self.kind()));
        let fields = self.line.split(' ').skip(1).filter_map(|field| field.split_once('='));
        fields
            .filter(move |(name, _)| *name == key)
            .map(move |(_, value)| unescape(value).and_then(T::from_bytes).ok_or_else(bad))
    }
}

/// The name and version of a message. A new field needs no new version; a change that a program of the old
/// version would misunderstand does.
#[derive(Debug)]
pub(super) struct Format {
    pub(super) name: &'static str,
    pub(super) version: u32,
}

/// Begins the first kind of every message that has a [`Format`].
const PREFIX: &str = "prefork-";
/// Precedes the checksum, which ends a message.
const CHECK: &str = " check=";

impl Format {
    /// The first record of a message, without fields.
    pub(super) fn heading(&self) -> Record {
        Record::new(&format!("{PREFIX}{}/{}", self.name, self.version))
    }

    /// A message of these records, the first of which is a [`heading`](Self::heading). It does not end
    /// with a line break.
    pub(super) fn write(records: &[Record]) -> String {
        let lines: Vec<&str> = records.iter().map(|record| record.line.as_str()).collect();
        let mut text = lines.join("\n");
        let checksum = checksum(&text);
        text.extend([CHECK, &checksum]);
        text
    }

    /// The heading of a message and its other records.
    ///
    /// # Errors
    ///
    /// The text is of another version, or is not what [`write`](Self::write) made.
    pub(super) fn read(&self, text: &str) -> io::Result<(Record, Vec<Record>)> {
        let name = self.name;
        let heading = Record::parse(text.lines().next().unwrap_or_default());
        let version = heading.kind().strip_prefix(PREFIX).and_then(|kind| kind.strip_prefix(name));
        match version.and_then(|version| version.strip_prefix('/')?.parse::<u32>().ok()) {
            Some(version) if version == self.version => {}
            Some(version) => {
                let ours = self.version;
                return Err(invalid(format!(
                    "the {name} is of version {version}, this program reads version {ours}"
                )));
            }
            None => return Err(invalid(format!("there is no {name}"))),
        }
        let body = text.rsplit_once(CHECK).filter(|(body, check)| *check == checksum(body));
        let (body, _) = body.ok_or_else(|| invalid(format!("the {name} is cut short or altered")))?;
        let mut records = body.lines().map(Record::parse);
        Ok((records.next().unwrap_or(heading), records.collect()))
    }
}

pub(super) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// FNV-1a, in hexadecimal digits. Texts that differ in one byte have different checksums.
fn checksum(text: &str) -> String {
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            // `write!` to a String cannot fail.
            let _ = write!(text, "%{byte:02x}");
        }
    }
}

/// `None` if [`escape`] makes no such text.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.as_bytes().split(|byte| *byte == b'%');
    let mut bytes = parts.next()?.to_vec();
    for part in parts {
        let (&[high, low], rest) = part.split_first_chunk()?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push(u8::try_from(digit(high)? << 4 | digit(low)?).ok()?);
        bytes.extend(rest);
    }
    text.bytes().all(|byte| byte.is_ascii_graphic()).then_some(bytes)
}

/// Values that are written as they are displayed.
macro_rules! displayed {
    ($($kind:ty)*) => {$(
        impl $crate::protocol::codec::FieldValue for $kind {
            fn to_bytes(&self) -> std::borrow::Cow<'_, [u8]> {
                self.to_string().into_bytes().into()
            }

            fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
                String::from_utf8(bytes).ok()?.parse().ok()
            }
        }
    )*};
}

pub(super) use displayed;

displayed!(bool i32 u32 u64 usize String);

/// In milliseconds, which the key names: `grace_ms`.
impl FieldValue for Duration {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        self.as_millis().to_string().into_bytes().into()
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        u64::from_bytes(bytes).map(Self::from_millis)
    }
}

impl FieldValue for PathBuf {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        self.as_os_str().as_encoded_bytes().into()
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        sys::os_string(bytes).map(Self::from)
    }
}

impl FieldValue for Vec<u8> {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        self.as_slice().into()
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        Some(bytes)
    }
}

/// What the property tests of every message need.
#[cfg(test)]
pub(super) mod testing {
    use proptest::prelude::*;

    use super::*;

    /// `text` as a newer program might write it: with unknown fields at random places, and with unknown
    /// records if `records` is true.
    pub(in crate::protocol) fn newer(text: &str, places: &[(usize, usize)], records: bool) -> String {
        let (body, _) = text.rsplit_once(CHECK).unwrap();
        let mut lines: Vec<Record> = body.lines().map(Record::parse).collect();
        for (line, field) in places {
            let line = line % lines.len();
            let mut words: Vec<&str> = lines[line].line.split(' ').collect();
            words.insert(1 + field % words.len(), ["colour=deep%20blue", "flag", "colour=%zz"][field % 3]);
            lines[line] = Record::parse(&words.join(" "));
            if records {
                lines.insert(line + 1, Record::parse("news of=tomorrow slot=7 uid=0"));
            }
        }
        Format::write(&lines)
    }

    pub(in crate::protocol) fn places() -> impl Strategy<Value = Vec<(usize, usize)>> {
        prop::collection::vec(any::<(usize, usize)>(), 1..4)
    }

    /// Every beginning of `text`, and `text` with one byte altered at each place.
    pub(in crate::protocol) fn damaged(text: &str, xor: u8) -> impl Iterator<Item = String> {
        let cut = (0..text.len()).map(|length| text.as_bytes()[..length].to_vec());
        let altered = (0..text.len()).map(move |place| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[place] ^= xor;
            bytes
        });
        // As the channel does with a line that is not UTF-8.
        cut.chain(altered).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(in crate::protocol) fn path() -> impl Strategy<Value = PathBuf> {
        any::<Vec<u8>>().prop_filter_map("no path of this system", PathBuf::from_bytes)
    }

    pub(in crate::protocol) fn duration() -> impl Strategy<Value = Duration> {
        any::<u64>().prop_map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORMAT: Format = Format { name: "test", version: 3 };

    proptest! {
        #[test]
        fn any_value_round_trips(bytes: Vec<u8>, text: String, number: i32, size: u64, flag: bool) {
            let record = Record::new("kind").with("bytes", &bytes).with("text", &text).with("size", &size);
            let record = record.with("number", &number).with("flag", &flag).with_each("none", &None::<bool>);
            prop_assert!(record.line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            let record = Record::parse(&record.line);
            prop_assert_eq!(record.kind(), "kind");
            prop_assert_eq!(record.get::<Vec<u8>>("bytes").unwrap(), bytes);
            prop_assert_eq!(record.get::<String>("text").unwrap(), text);
            prop_assert_eq!(record.get::<i32>("number").unwrap(), number);
            prop_assert_eq!(record.get::<u64>("size").unwrap(), size);
            prop_assert_eq!(record.find::<bool>("flag").unwrap(), Some(flag));
            prop_assert_eq!(record.find::<bool>("none").unwrap(), None);
        }

        #[test]
        fn lists_round_trip(texts: Vec<String>, paths in prop::collection::vec(testing::path(), 0..4)) {
            let record = Record::new("kind").with_each("path", &paths).with_each("text", &texts);
            prop_assert_eq!(record.all::<String>("text").unwrap(), texts);
            prop_assert_eq!(record.all::<PathBuf>("path").unwrap(), paths);
        }

        #[test]
        fn any_text_is_read_without_panic(text: String, key in "[a-c]") {
            let _ = FORMAT.read(&text);
            let record = Record::parse(&text);
            let _ = (record.find::<u32>(&key), record.all::<Vec<u8>>(&key), record.get::<Duration>(&key));
        }
    }

    #[test]
    fn bad_fields_are_named_and_their_values_are_not() {
        let record = Record::parse("kind size=secret%zz half=%4 high=%é raw=é");
        assert_eq!(record.get::<u32>("slot").unwrap_err().to_string(), "`kind` has no field `slot`");
        for key in ["size", "half", "high", "raw"] {
            let error = record.find::<String>(key).unwrap_err().to_string();
            assert_eq!(error, format!("`kind` has a field `{key}` that cannot be read"));
        }
    }

    #[test]
    fn message_of_other_version_or_damaged_is_refused() {
        let text = Format::write(&[FORMAT.heading().with("size", &7_u32), Record::new("other")]);
        let (heading, others) = FORMAT.read(&text).unwrap();
        assert_eq!(heading.get::<u32>("size").unwrap(), 7);
        assert_eq!(others, [Record::new("other")]);
        for (text, reason) in [
            (text.replace("/3", "/4"), "the test is of version 4, this program reads version 3"),
            (text.replace("test", "toast"), "there is no test"),
            (String::new(), "there is no test"),
            (text.replace('7', "8"), "the test is cut short or altered"),
            (text.replace(" check", "\ncheck"), "the test is cut short or altered"),
        ] {
            assert_eq!(FORMAT.read(&text).unwrap_err().to_string(), reason, "{text}");
        }
        for damaged in (1..=0x7f).step_by(9).flat_map(|xor| testing::damaged(&text, xor)) {
            assert!(FORMAT.read(&damaged).is_err(), "{damaged}");
        }
    }
}
