//! Bodies of fuzz targets: what the other end of a link, or the program before this one, may have sent.

use std::fmt::Debug;
use std::io;

use super::codec::{Format, Record};
use super::{
    FromTemplate, Handshake, LogParts, OwnPid, Secrets, ToChild, ToMaster, ToTemplate, UpgradePlan,
    UpgradeSnapshot, handshake, secrets, snapshot, upgrade_plan,
};
use crate::fuzzing::assert_one_line;
use crate::sys;

/// What a child reads of its master.
pub(crate) fn handshake(data: &[u8]) {
    for text in texts(&handshake::FORMAT, data) {
        let length = text.len();
        round_trips(&text, Handshake::from_line, |read| {
            let line = read.to_line();
            // What an older program leaves out is written, and nothing else is.
            assert!(!line.contains('\n') && line.len() <= length + 160, "{length}: {line}");
            line
        });
    }
    for text in texts(&secrets::FORMAT, data) {
        round_trips(&text, Secrets::from_text, Secrets::to_text);
    }
    for line in String::from_utf8_lossy(data).lines() {
        is_told_again(line, ToChild::from_line, ToChild::to_line);
        is_told_again(line, ToTemplate::from_line, |order| order.to_line());
    }
}

/// What a program reads of the one that it replaces in its process.
pub(crate) fn snapshot(data: &[u8]) {
    for text in texts(&snapshot::FORMAT, data) {
        round_trips(&text, UpgradeSnapshot::from_text, UpgradeSnapshot::to_text);
    }
}

/// What a master reads of a child or of a template.
pub(crate) fn child(data: &[u8]) {
    let mut parts = LogParts::default();
    for line in sys::lines_of_child(data) {
        is_told_again(&line, ToMaster::from_line, |message| message.to_line().to_owned());
        is_told_again(&line, FromTemplate::from_line, |answer| answer.to_line());
        is_told_again(&line, OwnPid::from_line, |pid| pid.to_line());
        let part = parts.add(&line);
        parts.assert_bounded(&part);
    }
    for text in texts(&upgrade_plan::FORMAT, data) {
        round_trips(&text, UpgradePlan::from_line, |plan| {
            let line = plan.to_line();
            assert!(!line.contains('\n') && UpgradePlan::is_one(&line), "{line}");
            line
        });
    }
}

/// The input as a whole message, and as the fields and records after a right heading, with a right checksum: a random
/// input has neither.
fn texts(format: &Format, data: &[u8]) -> [String; 2] {
    let text = String::from_utf8_lossy(data).into_owned();
    let with_heading = Record::parse(&format!("{} {text}", format.heading().kind()));
    [text, Format::write(&[with_heading])]
}

/// What is read of the text is written such that the same is read again; or the error is one line.
fn round_trips<T: Debug + PartialEq>(
    text: &str,
    read: impl Fn(&str) -> io::Result<T>,
    write: impl Fn(&T) -> String,
) {
    match read(text) {
        Ok(message) => {
            let again = read(&write(&message));
            assert!(again.as_ref().is_ok_and(|again| *again == message), "{message:?} became {again:?}");
        }
        Err(error) => assert_one_line(&error),
    }
}

/// The same for a message that is skipped if it cannot be read.
fn is_told_again<T: Debug + PartialEq>(
    line: &str,
    read: impl Fn(&str) -> Option<T>,
    write: impl Fn(&T) -> String,
) {
    let message = read(line);
    if let Some(message) = &message {
        let again = read(&write(message));
        assert_eq!(again.as_ref(), Some(message));
    }
}
