//! The parameters of a request.

use prefork_options::{self as options, Kind, Value};

use super::operation::Size;
use super::perform::HOLD_ALONE;
use crate::supervisor::CanaryChoice;

/// The parameters of a query.
pub(super) struct Parameters<'a> {
    /// Until they are read.
    left: Vec<(&'a str, String)>,
    taken: Vec<&'a str>,
}

impl<'a> Parameters<'a> {
    pub(super) fn of(query: &'a str) -> Self {
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let named = parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        Self { left: named.map(|(name, text)| (name, decoded(text))).collect(), taken: Vec::new() }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.left.iter().position(|(given, _)| *given == name)?;
        let (name, text) = self.left.remove(place);
        self.taken.push(name);
        Some(text)
    }

    pub(super) fn count(&mut self, name: &str, least: u64, most: u64) -> Result<usize, String> {
        let text = self.take(name).ok_or_else(|| format!("`{name}` is missing: use `?{name}=N`"))?;
        number(name, &text, least, most)
    }

    /// A size, or a difference.
    pub(super) fn size(&mut self) -> Result<Size, String> {
        let most = i64::from(options::WORKERS_MAX) - 1;
        let Some(text) = self.take("by") else {
            return self.count("count", 1, u64::from(options::WORKERS_MAX)).map(Size::To);
        };
        match parsed("by", &text, Kind::Signed(-most, most))? {
            Value::Signed(by) => isize::try_from(by).map(Size::By).map_err(|error| format!("by: {error}")),
            _ => Err("by is no number".to_owned()),
        }
    }

    /// Absent is no.
    pub(super) fn switch(&mut self, name: &str) -> Result<bool, String> {
        let given = self.take(name);
        match given.as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(text) => Err(format!("{name} cannot be `{}`: expected `1` or `0`", shown(text))),
        }
    }

    pub(super) fn canary(&mut self) -> Result<CanaryChoice, String> {
        let most = u64::from(options::WORKERS_MAX);
        let children = self.take("canary").map(|text| number("canary", &text, 0, most)).transpose()?;
        let hold = self.take("hold").map(|text| match parsed("hold", &text, options::HOLD.kind)? {
            Value::Duration(hold) => Ok(hold),
            _ => Err("hold is no duration".to_owned()),
        });
        let hold = hold.transpose()?;
        if hold.is_some() && children == Some(0) {
            return Err(HOLD_ALONE.to_owned());
        }
        Ok(CanaryChoice { children, hold })
    }

    /// # Errors
    ///
    /// A parameter is left: the operation does not have it, or it was given twice.
    pub(super) fn end(self) -> Result<(), String> {
        let Self { left, taken } = self;
        match left.first() {
            None => Ok(()),
            Some((name, _)) if taken.contains(name) => Err(format!("`{name}` is given twice")),
            Some((name, _)) => Err(format!("unknown parameter `{}`", shown(name))),
        }
    }
}

fn number(name: &str, text: &str, least: u64, most: u64) -> Result<usize, String> {
    match parsed(name, text, Kind::Count(least, most))? {
        Value::Count(number) => usize::try_from(number).map_err(|error| format!("{name}: {error}")),
        _ => Err(format!("{name} is no number")),
    }
}

fn parsed(name: &str, text: &str, kind: Kind) -> Result<Value, String> {
    kind.parse(text).map_err(|problem| {
        format!("{name} cannot be `{}`: expected {}", shown(text), kind.expected(&problem))
    })
}

/// The text of a parameter, in which a client may have encoded some bytes: `1m%2030s`.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let encoded = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(encoded.or(Some(b'%')));
        bytes.extend(part.as_bytes().get(if encoded.is_some() { 2 } else { 0 }..).unwrap_or_default());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A client's text in an answer: short, and without characters that a terminal obeys.
fn shown(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}
