//! Text of the fleet on a terminal, which obeys control characters: a socket may be that of anything.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use serde::{Deserialize, Deserializer};

/// The text in one line, with its control characters escaped.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Prints what is passed on as it is, unless a terminal shows it.
pub(crate) fn pass_on(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { lines(text) } else { Cow::Borrowed(text) };
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The text with its lines and tabs, and with other control characters escaped.
fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

fn escaped(text: &str, is_kept: fn(char) -> bool) -> Cow<'_, str> {
    let obeyed = |character: char| character.is_control() && !is_kept(character);
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for character in text.chars() {
        match character {
            _ if obeyed(character) => shown.extend(character.escape_default()),
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// Reads a field that is shown.
pub(crate) fn field<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| line(&text).into_owned())
}

/// Reads a field whose texts are shown.
pub(crate) fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.iter().map(|text| line(text).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(line("child 0 exited: größer\u{202f}5 %"), "child 0 exited: größer\u{202f}5 %");
        assert_eq!(line("a\u{1b}[2Jb\rc\nd\te\u{7f}\u{9b}31m"), r"a\u{1b}[2Jb\rc\nd\te\u{7f}\u{9b}31m");
        assert_eq!(lines("a\tb\n\u{1b}]0;title\u{7}\r\n"), "a\tb\n\\u{1b}]0;title\\u{7}\\r\n");
    }
}
