//! The lines that a child sends, of which one may have no end because the link was full.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// Whether the last line of a link may have no end. All senders of the link share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastLine {
    is_cut: Arc<Mutex<bool>>,
}

impl LastLine {
    /// Sends a line that must arrive. `write` writes all of a text.
    pub(super) fn send(&self, line: &str, write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
        // Held over the write: no other line is cut right before this one.
        let mut is_cut = self.is_cut.lock().unwrap_or_else(PoisonError::into_inner);
        let written = write(format!("{}{line}\n", end_of(*is_cut)).as_bytes());
        *is_cut = written.is_err();
        written
    }

    /// Sends whole lines, or their beginning, or nothing; nothing while another line is sent. Returns whether all are
    /// sent. `write` returns how many bytes it has written, or `None` if it does not know.
    pub(super) fn send_at_once(&self, lines: &str, write: impl FnOnce(&[u8]) -> Option<usize>) -> bool {
        let mut is_cut = match self.is_cut.try_lock() {
            Ok(is_cut) => is_cut,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let text = format!("{}{lines}", end_of(*is_cut));
        let written = write(text.as_bytes());
        match written.map(|length| &text.as_bytes()[..length]) {
            Some([]) => {}
            Some(written) => *is_cut = !written.ends_with(b"\n"),
            // If nothing was written, the next line comes after an empty one, which nobody reads.
            None => *is_cut = true,
        }
        written == Some(text.len())
    }
}

/// What ends a line that was cut, so that what follows is a line of its own.
fn end_of(is_cut: bool) -> &'static str {
    if is_cut { "\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes only so much.
    fn send_some(line: &LastLine, text: &str, length: Option<usize>, all: &mut String) -> bool {
        line.send_at_once(text, |bytes| {
            all.push_str(&String::from_utf8_lossy(&bytes[..length.unwrap_or(0)]));
            length
        })
    }

    fn send(line: &LastLine, text: &str, all: &mut String) {
        let write = |bytes: &[u8]| {
            all.push_str(&String::from_utf8_lossy(bytes));
            Ok(())
        };
        line.send(text, write).unwrap();
    }

    #[test]
    fn line_after_a_cut_one_is_whole() {
        let (line, mut all) = (LastLine::default(), String::new());
        assert!(send_some(&line, "one\n", Some(4), &mut all));
        assert!(!send_some(&line, "two\nthree\n", Some(4), &mut all), "between two lines");
        assert!(send_some(&line, "four\n", Some(5), &mut all));
        assert!(!send_some(&line, "five\n", Some(2), &mut all));
        assert!(!send_some(&line, "six\n", Some(0), &mut all));
        assert!(!send_some(&line, "seven\n", Some(1), &mut all), "only the end of the cut line");
        send(&line, "ready", &mut all);
        assert!(!send_some(&line, "eight\n", Some(2), &mut all));
        send(&line, "ready", &mut all);
        assert!(!send_some(&line, "nine\n", None, &mut all));
        send(&line, "ready", &mut all);
        assert_eq!(all, "one\ntwo\nfour\nfi\nready\nei\nready\n\nready\n");
    }

    #[test]
    fn no_line_is_cut_while_another_is_sent() {
        let line = LastLine::default();
        let write = |_: &[u8]| {
            let sent = line.clone().send_at_once("log text=a\n", |_| panic!("it is written"));
            assert!(!sent);
            Ok(())
        };
        line.send("ready", write).unwrap();
        assert!(line.send_at_once("log text=a\n", |bytes| Some(bytes.len())));
    }

    #[test]
    fn line_after_a_failed_write_is_whole() {
        let (line, mut all) = (LastLine::default(), String::new());
        line.send("ready", |_| Err(io::ErrorKind::WriteZero.into())).unwrap_err();
        send(&line, "stop-requested", &mut all);
        assert_eq!(all, "\nstop-requested\n");
    }
}
