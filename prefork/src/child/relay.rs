//! What prefork logs in this child, for those who follow the log at the master.
//!
//! A message is sent by the thread that logs it, which waits for nothing: what is logged right before the end of the
//! process is with the master by then. Its [`Allowance`] keeps a child that logs much far below what the master takes
//! from one; what is beyond it is in the child's own log only.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use crate::logging::{self, LoggedEvent};
use crate::protocol::{LINES_MAX, LogMessage};
use crate::sys::MasterSender;

/// What may be sent at once, in bytes: the longest message, and some short ones.
const BURST: usize = LINES_MAX + 6 * LEAST;
/// What an error may use, and nothing else: the reason of a child's end comes after what it has warned of.
const RESERVE: usize = 1000;
/// An error for which there is no room is cut to so many characters, of ASCII and of any others: in a line, they are
/// three and twelve bytes long at most.
const SHORT: (usize, usize) = (250, 65);
/// What is added to it each second. In the ten seconds of a master's quota this is 3600 bytes of 4096.
const PER_SECOND: usize = 120;
/// A line counts as so many bytes at least: in the same time this is 36 lines of 64.
const LEAST: usize = 100;

/// Begins to pass messages on.
pub(super) fn begin(sender: MasterSender) {
    let allowance = Mutex::new(Allowance::new(Instant::now()));
    logging::relay(move |event| pass_on(event, &sender, &allowance));
}

fn pass_on(event: &LoggedEvent, sender: &MasterSender, allowance: &Mutex<Allowance>) {
    let LoggedEvent { level, ref name, ref text, .. } = *event;
    let message = LogMessage { level, event: name.clone().into_owned(), text: text.clone() };
    // The lines of two threads do not mix, because they are sent under the lock.
    let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
    let is_sent = allowance.send(&message, sender)
        || (level == Level::Error && allowance.send(&shortened(message), sender));
    if !is_sent {
        allowance.left_out += 1;
        return;
    }
    let left_out = std::mem::take(&mut allowance.left_out);
    if left_out > 0 && !allowance.send(&note_of(left_out), sender) {
        allowance.left_out = left_out;
    }
}

fn shortened(message: LogMessage) -> LogMessage {
    let length = if message.text.is_ascii() { SHORT.0 } else { SHORT.1 };
    let text = message.text.chars().take(length).chain(['…']).collect();
    LogMessage { text, ..message }
}

/// Says that messages are missing before the one that was sent last.
fn note_of(left_out: u64) -> LogMessage {
    let (noun, verb) = if left_out == 1 { ("message", "is") } else { ("messages", "are") };
    LogMessage {
        level: Level::Warn,
        event: "messages_dropped".to_owned(),
        text: format!("{left_out} earlier {noun} {verb} in the child's own log only"),
    }
}

fn cost(lines: &str) -> usize {
    lines.lines().map(|line| (line.len() + 1).max(LEAST)).sum()
}

/// What may still be sent.
#[derive(Debug)]
struct Allowance {
    bytes: usize,
    at: Instant,
    /// The messages that were not sent since the last one that was.
    left_out: u64,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { bytes: BURST, at: now, left_out: 0 }
    }

    /// Sends a message if it may be sent. Returns whether it is.
    fn send(&mut self, message: &LogMessage, sender: &MasterSender) -> bool {
        let lines = message.to_lines();
        lines.is_some_and(|lines| {
            self.take(Instant::now(), message.level, cost(&lines)) && sender.send_at_once(&lines)
        })
    }

    /// Whether so many bytes may be sent.
    fn take(&mut self, now: Instant, level: Level, bytes: usize) -> bool {
        let seconds = now.saturating_duration_since(self.at).as_secs();
        self.at += Duration::from_secs(seconds);
        let earned = usize::try_from(seconds).unwrap_or(BURST).saturating_mul(PER_SECOND);
        self.bytes = self.bytes.saturating_add(earned).min(BURST);
        let kept = if level == Level::Error { 0 } else { RESERVE };
        let left = self.bytes.checked_sub(bytes).filter(|left| *left >= kept);
        self.bytes = left.unwrap_or(self.bytes);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> String {
        let event = "cannot_start".to_owned();
        LogMessage { level: Level::Error, event, text: text.to_owned() }.to_lines().unwrap()
    }

    #[test]
    fn longest_message_and_a_short_one_may_be_sent_at_once() {
        let start = Instant::now();
        for text in ["x".repeat(5000), "some words ".repeat(500), "é".repeat(5000)] {
            let mut allowance = Allowance::new(start);
            assert!(
                allowance.take(start, Level::Error, cost(&lines(&text)))
                    && allowance.take(start, Level::Error, cost(&lines("short")))
            );
        }
    }

    #[test]
    fn reason_of_the_end_has_room_after_many_warnings() {
        let start = Instant::now();
        for reason in ["no such table".to_owned(), " ".repeat(1000), "𝄞".repeat(1000)] {
            let mut allowance = Allowance::new(start);
            while allowance.take(start, Level::Warn, cost(&lines("a warning"))) {}
            let (event, level) = ("serve_failed".to_owned(), Level::Error);
            let message = LogMessage { level, event, text: reason };
            let cost = |message: &LogMessage| cost(&message.to_lines().unwrap());
            let short = shortened(message.clone());
            assert!(
                allowance.take(start, level, cost(&message)) || allowance.take(start, level, cost(&short)),
                "{allowance:?} {}",
                cost(&short)
            );
        }
    }

    #[test]
    fn flood_stays_below_the_quota_of_a_master_in_any_ten_seconds() {
        for text in ["short".to_owned(), "middle ".repeat(30), "x".repeat(2000)] {
            let (start, lines) = (Instant::now(), lines(&text));
            let mut allowance = Allowance::new(start);
            let times = (0..4000).map(|step| start + Duration::from_millis(step * 10));
            let sent: Vec<Instant> =
                times.filter(|at| allowance.take(*at, Level::Error, cost(&lines))).collect();
            for from in &sent {
                let until = *from + Duration::from_secs(10);
                let count = sent.iter().filter(|at| (*from..until).contains(at)).count();
                let (bytes, count) = (count * lines.len(), count * lines.lines().count());
                assert!(bytes <= 3600 && count <= 36, "{bytes} bytes, {count} lines");
            }
            assert!(sent.last().is_some_and(|last| *last > start + Duration::from_secs(20)), "it goes on");
        }
    }
}
