//! What changes the fleet, with its progress.

use std::io::{self, IsTerminal, Write};

use serde::Deserialize;

use crate::client::{Answer, Client};
use crate::failure::Failure;
use crate::shown;

/// Asks for progress, a JSON object in each line, the last of which is the result.
const JSON_LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";
/// What is shown of an answer that is none of a fleet's.
const UNKNOWN_LIMIT: usize = 1024;
/// Back to the start of the line, which is cleared.
const CLEAR: &str = "\r\x1b[K";

/// What became of an operation.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    #[serde(deserialize_with = "shown::field")]
    result: String,
    #[serde(default, deserialize_with = "shown::field")]
    pub(crate) message: String,
    /// Of the fleet, afterwards.
    #[serde(default)]
    pub(crate) generation: u64,
    seconds: Option<f64>,
    /// What the master has logged of it.
    #[serde(default, deserialize_with = "shown::fields")]
    log: Vec<String>,
}

/// A line of the answer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Ended(Outcome),
    Progress { replaced: u64, of: u64 },
}

/// Asks for a change, waits for its end, and prints what became of it.
pub(crate) fn run(client: &Client, path: &str, json: bool) -> Result<(), Failure> {
    let outcome = ask(client, path, json)?;
    if !json {
        let seconds = outcome.seconds.map(|seconds| format!(" ({seconds:.1} s)")).unwrap_or_default();
        say(&mut io::stdout(), &format!("{}{seconds}", outcome.message));
    }
    Ok(())
}

/// Asks for a change, and waits for its end. Prints the answer as it is, or the progress and what was logged.
pub(crate) fn ask(client: &Client, path: &str, json: bool) -> Result<Outcome, Failure> {
    let answer = client.post(path, if json { JSON } else { JSON_LINES })?;
    if json { print(answer) } else { follow(answer) }
}

/// Asks for a change, and waits for its end. Returns what became of it, without printing anything.
pub(crate) fn perform(client: &Client, path: &str) -> Result<String, Failure> {
    let answer = client.post(path, JSON)?;
    let status = answer.status;
    let text = answer.text()?;
    let outcome = outcome_of(&text).ok_or_else(|| refused(status, &text))?;
    outcome.check(status).map(|outcome| outcome.message)
}

/// Prints the answer as it is.
fn print(answer: Answer) -> Result<Outcome, Failure> {
    let status = answer.status;
    let text = answer.text()?;
    // What was done does not depend on a reader.
    let _ = shown::pass_on(&format!("{}\n", text.trim_end()));
    outcome_of(&text).ok_or_else(|| refused(status, &text))?.check(status)
}

fn follow(answer: Answer) -> Result<Outcome, Failure> {
    let status = answer.status;
    let mut progress = Progress::default();
    let mut unknown = String::new();
    for line in answer.lines() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(Line::Progress { replaced, of }) => progress.show(&format!("{replaced} of {of} children")),
            Ok(Line::Ended(outcome)) => {
                progress.end();
                // The last one may be what is said below.
                let log = outcome.log.iter().filter(|line| **line != outcome.message);
                log.for_each(|line| say(&mut io::stderr(), &format!("  {line}")));
                return outcome.check(status);
            }
            Err(_) if unknown.len() > UNKNOWN_LIMIT => break,
            Err(_) => unknown += &(line + "\n"),
        }
    }
    progress.end();
    Err(match unknown.trim_end() {
        "" => Failure::NoFleet(
            "the fleet has closed the connection before the end; its log says what became of it".to_owned(),
        ),
        text => refused(status, text),
    })
}

fn outcome_of(text: &str) -> Option<Outcome> {
    serde_json::from_str(text).ok()
}

/// An answer that is no outcome.
fn refused(status: u16, text: &str) -> Failure {
    let text = text.trim_end();
    match status {
        400 => Failure::Usage(text.to_owned()),
        404 | 405 => Failure::NotDone(format!("this fleet cannot do that: {text}")),
        _ => Failure::NotDone(format!("the fleet has answered {status}: {text}")),
    }
}

impl Outcome {
    /// # Errors
    ///
    /// It was not done.
    fn check(self, status: u16) -> Result<Self, Failure> {
        match self.result.as_str() {
            _ if status == 400 => Err(Failure::Usage(self.message)),
            "done" if status == 200 => Ok(self),
            "busy" => Err(Failure::Busy(self.message)),
            result if self.message.is_empty() => Err(Failure::NotDone(result.to_owned())),
            _ => Err(Failure::NotDone(self.message)),
        }
    }
}

/// How far it is, on standard error: in one line of a terminal, otherwise a line whenever it changes.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    shown: String,
    is_open: bool,
}

impl Progress {
    pub(crate) fn show(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            draw(&format!("{CLEAR}{text}"));
            self.is_open = true;
        } else if self.shown != text {
            say(&mut io::stderr(), text);
            text.clone_into(&mut self.shown);
        }
    }

    /// Lines follow.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            draw(CLEAR);
        }
    }
}

/// Prints a line, if somebody reads it: what was done does not depend on that.
pub(crate) fn say(out: &mut impl Write, line: &str) {
    let _ = writeln!(out, "{line}");
}

fn draw(text: &str) {
    let _ = write!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), Failure> {
        outcome_of(text).unwrap().check(200).map(drop)
    }

    #[test]
    fn only_what_was_done_is_a_success() {
        assert_eq!(check(r#"{"operation":"reload","result":"done","message":"reloaded"}"#), Ok(()));
        let failure = |text: &str| check(text).unwrap_err();
        assert_eq!(failure(r#"{"result":"busy","message":"a"}"#), Failure::Busy("a".to_owned()));
        for result in ["aborted", "refused", "superseded", "cancelled", "anything"] {
            let text = format!(r#"{{"result":"{result}","message":"why"}}"#);
            assert_eq!(failure(&text), Failure::NotDone("why".to_owned()));
        }
        assert_eq!(failure(r#"{"result":"aborted"}"#), Failure::NotDone("aborted".to_owned()));
    }

    #[test]
    fn outcome_is_shown_without_control_characters() {
        let outcome = outcome_of(r#"{"result":"a\u001b","message":"b\n","log":["c\r"]}"#).unwrap();
        let Outcome { result, message, log, .. } = outcome;
        assert_eq!((result.as_str(), message.as_str(), log.join("").as_str()), ("a\\u{1b}", "b\\n", "c\\r"));
    }

    #[test]
    fn lines_are_progress_or_the_end() {
        let progress = serde_json::from_str(r#"{"operation":"reload","replaced":2,"of":8}"#).unwrap();
        assert!(matches!(progress, Line::Progress { replaced: 2, of: 8 }));
        let ended = serde_json::from_str(r#"{"result":"done","replaced":8,"of":8,"message":"m"}"#).unwrap();
        assert!(matches!(ended, Line::Ended(_)));
    }
}
