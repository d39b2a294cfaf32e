//! A message of the log, from the child that has logged it to its master.
//!
//! ```text
//! log first=1 text=child%203%20(pid%204711)%20cannot%20start:%20init%20failed:%20
//! log text=no%20such%20file event=cannot_start level=error
//! ```
//!
//! The text comes in parts. The first one says so, because the end of the message before it may be missing; the record
//! with the event ends the message. The level comes last: a line that was cut has none, or one that does not exist. No
//! line is longer than any master takes from a child, and a master that does not know them skips them: a child need not
//! know which one it has.

use std::mem;

use log::Level;

use super::codec::Record;

const KIND: &str = "log";
/// The longest text, in bytes. The rest is left out.
const TEXT_MAX: usize = 1024;
/// The longest line, with what a line may have beside its text.
const LINE_MAX: usize = 240;
const REST_MAX: usize = "log first=1 text=%e2%80%a6 event= level=error\n".len() + NAME_MAX;
/// The longest message as lines: text without ASCII is three times as long there.
pub(crate) const LINES_MAX: usize = 1800;
/// The longest name of an event.
const NAME_MAX: usize = 32;
/// Ends a text that was cut.
const CUT: char = '…';

const LEVELS: [(Level, &str); 5] = [
    (Level::Error, "error"),
    (Level::Warn, "warn"),
    (Level::Info, "info"),
    (Level::Debug, "debug"),
    (Level::Trace, "trace"),
];

/// What a child has logged. The child tells neither its slot nor its pid: its master knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogMessage {
    pub(crate) level: Level,
    /// The name of the event: letters, digits and `_`.
    pub(crate) event: String,
    pub(crate) text: String,
}

impl LogMessage {
    /// The message as lines, each with a line break; without the end of a long text. `None` for a name that no master
    /// takes.
    pub(crate) fn to_lines(&self) -> Option<String> {
        if !is_name(&self.event) {
            return None;
        }
        let (mut lines, mut part, mut length) = (String::new(), String::new(), 0);
        let mut written = 0;
        for character in self.text.chars() {
            let size = written_length(character);
            if written + character.len_utf8() > TEXT_MAX || lines.len() + length + size > LINES_MAX - LINE_MAX
            {
                part.push(CUT);
                break;
            }
            if length + size > LINE_MAX - REST_MAX {
                lines += &line(lines.is_empty(), &mem::take(&mut part), |record| record);
                length = 0;
            }
            part.push(character);
            length += size;
            written += character.len_utf8();
        }
        let level = LEVELS.iter().find(|(level, _)| *level == self.level).map_or("error", |(_, name)| name);
        let end = |record: Record| record.with("event", &self.event).with("level", &level.to_owned());
        let last = line(lines.is_empty(), &part, end);
        Some(lines + &last)
    }
}

fn line(is_first: bool, text: &String, end: impl FnOnce(Record) -> Record) -> String {
    let first = is_first.then(|| "1".to_owned());
    end(Record::new(KIND).with_each("first", &first).with("text", text)).to_line() + "\n"
}

/// How long a character is in a field.
fn written_length(character: char) -> usize {
    if character.is_ascii_graphic() && character != '%' { 1 } else { 3 * character.len_utf8() }
}

/// The parts of a message that a child has sent so far. They need a bounded amount of memory, whatever it sends.
#[derive(Debug, Default)]
pub(crate) struct LogParts {
    text: String,
    has_begun: bool,
}

/// What a line of a child was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogPart {
    /// No part of such a message, or none that can be read.
    Other,
    /// Not the last part.
    Part,
    Whole(LogMessage),
}

impl LogParts {
    /// Adds a line.
    pub(crate) fn add(&mut self, line: &str) -> LogPart {
        let record = Record::parse(line);
        if record.kind() != KIND {
            return LogPart::Other;
        }
        let is_first = record.find::<String>("first").is_ok_and(|first| first.is_some());
        if is_first {
            self.text.clear();
        } else if !self.has_begun {
            // The program before this one has read the beginning, for example.
            self.text.push(CUT);
        }
        self.has_begun = true;
        let (Ok(text), Ok(event), Ok(level)) =
            (record.find::<String>("text"), record.find::<String>("event"), record.find::<String>("level"))
        else {
            *self = Self::default();
            return LogPart::Other;
        };
        self.append(&text.unwrap_or_default());
        let Some(event) = event else { return LogPart::Part };
        let text = mem::take(self).text;
        let level = LEVELS.iter().find(|(_, name)| level.as_deref() == Some(name)).map(|(level, _)| *level);
        match level {
            Some(level) if is_name(&event) => LogPart::Whole(LogMessage { level, event, text }),
            _ => LogPart::Other,
        }
    }

    fn append(&mut self, text: &str) {
        let room = (TEXT_MAX + CUT.len_utf8()).saturating_sub(self.text.len());
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        self.text.push_str(&text[..end.unwrap_or(0)]);
    }
}

#[cfg(any(test, fuzzing))]
impl LogParts {
    /// Asserts that whatever was added needs little memory, and that what came out is a message that can be sent on.
    #[allow(clippy::panic, reason = "it is a test")]
    pub(super) fn assert_bounded(&self, part: &LogPart) {
        let longest = TEXT_MAX + CUT.len_utf8();
        assert!(self.text.len() <= longest, "{}", self.text.len());
        let LogPart::Whole(message) = part else { return };
        assert!(message.text.len() <= longest && is_name(&message.event), "{message:?}");
        let lines = message.to_lines().unwrap_or_default();
        let mut parts = Self::default();
        let again: Vec<LogPart> = lines.lines().map(|line| parts.add(line)).collect();
        let Some((LogPart::Whole(again), before)) = again.split_last() else { panic!("{lines}") };
        assert!(before.iter().all(|part| *part == LogPart::Part), "{lines}");
        assert_eq!((again.level, &again.event), (message.level, &message.event));
        let whole = again.text.strip_suffix(CUT).unwrap_or(&again.text);
        assert!(lines.len() <= LINES_MAX && message.text.starts_with(whole), "{lines}");
    }
}

fn is_name(event: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=NAME_MAX).contains(&event.len()) && event.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(parts: &mut LogParts, lines: &str) -> Vec<LogPart> {
        lines.lines().map(|line| parts.add(line)).filter(|part| *part != LogPart::Part).collect()
    }

    fn message(text: &str) -> LogMessage {
        LogMessage { level: Level::Error, event: "cannot_start".to_owned(), text: text.to_owned() }
    }

    proptest! {
        #[test]
        fn text_round_trips_but_for_its_end(
            text: String, repeated in 1..200_usize, level in 0..5_usize, event in "[a-z0-9_]{1,32}"
        ) {
            let text = text.repeat(repeated);
            let sent = LogMessage { level: LEVELS[level].0, event, text: text.clone() };
            let lines = sent.to_lines().unwrap();
            prop_assert!(lines.len() <= LINES_MAX, "{}", lines.len());
            prop_assert!(lines.lines().all(|line| line.len() < LINE_MAX), "{}", lines);
            let Ok([LogPart::Whole(read)]) = <[_; 1]>::try_from(read(&mut LogParts::default(), &lines)) else {
                return Err(TestCaseError::fail(lines));
            };
            prop_assert_eq!((read.level, &read.event), (sent.level, &sent.event));
            match read.text.strip_suffix(CUT) {
                Some(beginning) if read.text != text => prop_assert!(text.starts_with(beginning)),
                _ => prop_assert_eq!(read.text, text),
            }
        }

        #[test]
        fn any_lines_of_a_child_need_little_memory(lines: Vec<String>, text in "[a-z%0-9=é ]{0,300}") {
            let mut parts = LogParts::default();
            for line in lines.iter().chain([&format!("log text={text}"), &format!("log {text}")]).cycle().take(500) {
                if let LogPart::Whole(message) = parts.add(line) {
                    prop_assert!(message.text.len() <= TEXT_MAX + 3 && is_name(&message.event));
                }
                prop_assert!(parts.text.len() <= TEXT_MAX + 3);
            }
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        for (text, least) in
            [("x".repeat(5000), TEXT_MAX), ("a b ".repeat(900), 600), ("é".repeat(3000), 400)]
        {
            let lines = message(&text).to_lines().unwrap();
            let read = read(&mut LogParts::default(), &lines);
            let [LogPart::Whole(read)] = &read[..] else { panic!("{read:?}") };
            let beginning = read.text.strip_suffix(CUT).unwrap();
            assert!(text.starts_with(beginning) && (least..=TEXT_MAX).contains(&beginning.len()), "{read:?}");
        }
    }

    /// Whatever has arrived of the first message: nothing that is not its own is in the second.
    #[test]
    fn message_after_a_cut_one_is_whole() {
        let cut = message(&"a long text ".repeat(30)).to_lines().unwrap();
        for (end, next) in (0..cut.len()).flat_map(|end| [(end, "short".to_owned()), (end, "x".repeat(500))])
        {
            let lines = format!("{}\n{}", &cut[..end], message(&next).to_lines().unwrap());
            let read = read(&mut LogParts::default(), &lines);
            let whole = read
                .into_iter()
                .filter_map(|part| if let LogPart::Whole(it) = part { Some(it) } else { None });
            let whole: Vec<_> = whole.filter(|read| read.text != "a long text ".repeat(30)).collect();
            assert_eq!(whole, [message(&next)], "{}", &cut[..end]);
        }
    }

    #[test]
    fn longest_lines_stay_within_their_bounds() {
        for text in ["x", "é", "…", "\u{10ffff}", "a b"].map(|text| text.repeat(5000)) {
            for length in 0..200 {
                // A blank is longer as it is written: the text is cut at another place of its line.
                let text = format!("{}{text}", " ".repeat(length));
                let lines = LogMessage { event: "e".repeat(NAME_MAX), ..message(&text) }.to_lines().unwrap();
                let longest = lines.lines().map(str::len).max();
                assert!(lines.len() <= LINES_MAX && longest < Some(LINE_MAX), "{longest:?}: {lines}");
            }
        }
        assert_eq!(LogMessage { event: "e".repeat(NAME_MAX + 1), ..message("") }.to_lines(), None);
    }

    #[test]
    fn part_without_end_grows_to_a_limit_and_what_comes_next_is_read() {
        let mut parts = LogParts::default();
        let part = format!("log text={}", "x".repeat(200));
        assert!((0..1000).all(|_| parts.add(&part) == LogPart::Part));
        assert_eq!(parts.text.len(), TEXT_MAX + CUT.len_utf8());
        assert!(matches!(parts.add("log level=info event=a"), LogPart::Whole(_)));
        assert_eq!(
            parts.add("log first=1 text=b level=error event=cannot_start"),
            LogPart::Whole(message("b"))
        );
        assert_eq!(parts.add("log text=b level=error event=cannot_start"), LogPart::Whole(message("…b")));
    }

    #[test]
    fn message_with_another_level_or_name_is_none() {
        for end in [
            "event=a",
            "level=loud event=a",
            "level=info event=",
            "level=info event=a-b",
            "level=info event=%22",
        ]
        .into_iter()
        .map(ToOwned::to_owned)
        .chain([format!("level=info event={}", "a".repeat(NAME_MAX + 1)), "text=%zz".to_owned()])
        {
            let mut parts = LogParts::default();
            assert_eq!(parts.add(&format!("log {end}")), LogPart::Other, "{end}");
            assert!(parts.text.is_empty());
        }
        assert_eq!(LogParts::default().add("ready"), LogPart::Other);
    }
}
