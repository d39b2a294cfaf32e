//! What one end of the link has received: text, cut into lines, with bounds.
//!
//! A child is not trusted: whatever it sends costs its master a bounded amount of memory and time. The
//! reactor reads all that a child has sent, so that its messages come before a deadline that has passed meanwhile. A child
//! that sends more than its [`Quota`] is reported, and is not read any more.

use std::io;
use std::time::{Duration, Instant};

/// The longest line of a child. The longest that this version sends has 240 bytes, and a part of a message of its log
/// in it; those of other messages have 24 at most, and a newer program may add fields to them.
const CHILD_LINE: usize = 256;

/// The time for which a quota is.
const QUOTA_TIME: Duration = Duration::from_secs(10);
/// What a child may send in that time. This version sends four short lines in its life, two a second at most about the
/// leadership, and of what it logs 36 lines and 3600 bytes at most; a newer one may send others. 64 lines and 4 KiB leave
/// it room, and cost the master less than a millisecond.
const QUOTA_LINES: u32 = 64;
const QUOTA_BYTES: u32 = 4096;
/// For how long a child that sends less keeps its right to more: 240 KiB. The master counts what it reads, which is more
/// than the child has sent in that time if the master was stopped or busy before, but no more than a socket holds: 208 KiB
/// on Linux, less elsewhere.
const SAVED_TIME: Duration = Duration::from_secs(600);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Inbox {
    lines: LineBuffer,
    /// `None` for what a master sends.
    quota: Option<Quota>,
}

impl Inbox {
    /// For what a child sends.
    pub(super) fn from_child() -> Self {
        Self { lines: LineBuffer::new(CHILD_LINE), quota: Some(Quota::new(Instant::now(), QUOTA_TIME)) }
    }

    /// For what a child sends that an earlier program in this process has started. Nobody has read it for an unknown time.
    #[cfg(unix)]
    pub(super) fn from_earlier_child() -> Self {
        Self { lines: LineBuffer::new(CHILD_LINE), quota: Some(Quota::new(Instant::now(), SAVED_TIME)) }
    }

    /// For what a master sends, in lines of at most `longest_line` bytes.
    pub(super) fn from_master(longest_line: usize) -> Self {
        Self { lines: LineBuffer::new(longest_line), quota: None }
    }

    /// Adds bytes that were received.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if they do not come from a prefork process. Nothing more is to be
    /// received then.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let lines = self.lines.push(bytes)?;
        match &mut self.quota {
            Some(quota) => quota.spend(Instant::now(), bytes.len(), lines),
            None => Ok(()),
        }
    }

    /// Lets a child send one line of at most so many bytes, in addition to what any child may send.
    #[cfg_attr(windows, allow(dead_code, reason = "no child there has a long line to send"))]
    pub(super) fn allow_long_line(&mut self, longest: usize) {
        self.lines.longest = longest;
        if let Some(quota) = &mut self.quota {
            quota.bytes += PER_BYTE.saturating_mul(number(longest));
        }
    }

    /// Lets a child send one line of an ordinary length, in addition to what any child may send.
    #[cfg_attr(windows, allow(dead_code, reason = "there are no templates there"))]
    pub(super) fn allow_line(&mut self) {
        if let Some(quota) = &mut self.quota {
            quota.lines += PER_LINE;
            quota.bytes += PER_BYTE.saturating_mul(number(CHILD_LINE));
        }
    }

    /// The next whole line. An empty one only ends a line that may have been cut, and was not.
    pub(super) fn next_line(&mut self) -> Option<String> {
        std::iter::from_fn(|| self.lines.next_line()).find(|line| !line.is_empty())
    }

    /// Puts a line back in front of the others.
    #[cfg(windows)]
    pub(super) fn put_back(&mut self, line: &str) {
        self.lines.put_back(line);
    }
}

/// Bytes cut into lines. Each byte is looked at twice, however it arrives.
#[derive(Debug)]
struct LineBuffer {
    bytes: Vec<u8>,
    /// How many whole lines there are.
    whole: usize,
    /// Bytes after the last whole line.
    unfinished: usize,
    longest: usize,
}

impl LineBuffer {
    fn new(longest: usize) -> Self {
        Self { bytes: Vec::new(), whole: 0, unfinished: 0, longest }
    }

    /// Returns how many lines the bytes complete.
    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.whole;
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            self.unfinished += text.len();
            if self.unfinished > self.longest {
                return Err(invalid(format!("a line of more than {} bytes", self.longest)));
            }
            self.bytes.extend_from_slice(part);
            if is_whole {
                self.unfinished = 0;
                self.whole += 1;
            }
        }
        Ok(self.whole - before)
    }

    fn next_line(&mut self) -> Option<String> {
        self.whole = self.whole.checked_sub(1)?;
        let end = self.bytes.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        self.bytes.drain(..=end);
        Some(line)
    }

    #[cfg(any(windows, test))]
    fn put_back(&mut self, line: &str) {
        self.bytes.splice(..0, line.bytes().chain([b'\n']));
        self.whole += 1;
    }
}

/// What a child may still send: bytes and lines, each as the time in which it earns them.
#[derive(Debug)]
struct Quota {
    bytes: Duration,
    lines: Duration,
    at: Instant,
}

const PER_BYTE: Duration = QUOTA_TIME.checked_div(QUOTA_BYTES).unwrap();
const PER_LINE: Duration = QUOTA_TIME.checked_div(QUOTA_LINES).unwrap();

impl Quota {
    /// With what is earned in the `saved` time.
    fn new(now: Instant, saved: Duration) -> Self {
        Self { bytes: saved, lines: saved, at: now }
    }

    fn spend(&mut self, now: Instant, bytes: usize, lines: usize) -> io::Result<()> {
        let earned = now.saturating_duration_since(self.at);
        self.at = now;
        let spend = |left: &mut Duration, amount: usize, each: Duration| {
            let rest =
                left.saturating_add(earned).min(SAVED_TIME).checked_sub(each.saturating_mul(number(amount)));
            *left = rest.unwrap_or_default();
            rest.is_some()
        };
        let seconds = QUOTA_TIME.as_secs();
        if !spend(&mut self.bytes, bytes, PER_BYTE) {
            return Err(invalid(format!("more than {QUOTA_BYTES} bytes within {seconds}s")));
        }
        if !spend(&mut self.lines, lines, PER_LINE) {
            return Err(invalid(format!("more than {QUOTA_LINES} messages within {seconds}s")));
        }
        Ok(())
    }
}

fn number(amount: usize) -> u32 {
    u32::try_from(amount).unwrap_or(u32::MAX)
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// For the body of a fuzz target.
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing {
    use super::{CHILD_LINE, Inbox, QUOTA_BYTES};
    use crate::fuzzing::assert_one_line;

    /// The lines of a child that its master takes of these bytes. They are the same in whatever pieces the bytes arrive.
    pub(crate) fn lines_of_child(bytes: &[u8]) -> Vec<String> {
        let lines = lines_in_pieces(bytes, 512);
        // Where that ends, because a line or all of them are too long, depends on the pieces.
        let in_bytes = lines_in_pieces(bytes, 1);
        let mut pairs = lines.iter().zip(&in_bytes);
        assert!(pairs.all(|(one, other)| one == other), "{lines:?} are not {in_bytes:?}");
        lines
    }

    fn lines_in_pieces(bytes: &[u8], size: usize) -> Vec<String> {
        let (mut inbox, mut lines) = (Inbox::from_child(), Vec::new());
        for piece in bytes.chunks(size) {
            let taken = inbox.push(piece);
            // As the reactor does, which reads no more after an error.
            lines.extend(std::iter::from_fn(|| inbox.next_line()));
            assert!(inbox.lines.bytes.len() <= CHILD_LINE + size, "it keeps {:?}", inbox.lines.bytes.len());
            if let Err(error) = taken {
                assert_one_line(&error);
                break;
            }
        }
        // A byte that is not UTF-8 becomes a character of three.
        assert!(lines.iter().all(|line| line.len() <= 3 * CHILD_LINE && !line.contains('\n')));
        assert!(lines.iter().map(String::len).sum::<usize>() <= 6 * QUOTA_BYTES as usize);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<String> {
        std::iter::from_fn(|| buffer.next_line()).collect()
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let text = b"one\n\ntwo and three\nrest";
        for size in 1..=text.len() {
            let mut buffer = LineBuffer::new(100);
            let whole: usize = text.chunks(size).map(|chunk| buffer.push(chunk).unwrap()).sum();
            assert_eq!(whole, 3);
            assert_eq!(lines(&mut buffer), ["one", "", "two and three"]);
            buffer.push(b" is whole\n").unwrap();
            assert_eq!(lines(&mut buffer), ["rest is whole"]);
        }
    }

    #[test]
    fn line_at_the_limit_is_taken_and_a_longer_one_is_refused() {
        let mut buffer = LineBuffer::new(4);
        assert_eq!(buffer.push(b"1234\n1234\n12").unwrap(), 2);
        assert_eq!(buffer.push(b"34\n").unwrap(), 1);
        assert_eq!(buffer.push(b"12345\n").unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut buffer = LineBuffer::new(4);
        buffer.push(b"123").unwrap();
        assert_eq!(buffer.push(b"45").unwrap_err().to_string(), "a line of more than 4 bytes");
    }

    #[test]
    fn line_that_is_put_back_comes_next() {
        let mut buffer = LineBuffer::new(100);
        buffer.push(b"later\nhalf").unwrap();
        buffer.put_back("first");
        assert_eq!(lines(&mut buffer), ["first", "later"]);
    }

    #[test]
    fn empty_line_is_no_message() {
        let mut inbox = Inbox::from_child();
        inbox.push(b"\nready\n\n\nlog text=a\n\n").unwrap();
        assert_eq!(inbox.next_line().as_deref(), Some("ready"));
        assert_eq!(inbox.next_line().as_deref(), Some("log text=a"));
        assert_eq!(inbox.next_line(), None);
    }

    #[test]
    fn long_line_is_taken_where_one_is_expected() {
        let long = [vec![b'x'; 60_000], vec![b'\n']].concat();
        assert!(Inbox::from_child().push(&long).is_err());
        let mut inbox = Inbox::from_child();
        inbox.allow_long_line(65_536);
        inbox.push(&long).unwrap();
        assert_eq!(inbox.next_line().unwrap().len(), 60_000);
        assert_eq!(inbox.push(&long).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    const BYTES: usize = QUOTA_BYTES as usize;
    const LINES: usize = QUOTA_LINES as usize;

    #[test]
    fn quota_is_for_bytes_and_lines_and_is_renewed() {
        let start = Instant::now();
        let mut quota = Quota::new(start, QUOTA_TIME);
        quota.spend(start, BYTES, LINES).unwrap();
        assert_eq!(quota.spend(start, 2, 0).unwrap_err().to_string(), "more than 4096 bytes within 10s");
        quota.spend(start + QUOTA_TIME, 1, LINES).unwrap();
        let error = quota.spend(start + QUOTA_TIME, 1, 1).unwrap_err();
        assert_eq!(error.to_string(), "more than 64 messages within 10s");
    }

    /// 24 lines of 100 bytes at once, and then 120 bytes a second.
    #[test]
    fn child_within_its_allowance_is_taken_although_the_master_was_stopped_meanwhile() {
        for (stopped, at_once) in [(0, 512), (14, 512), (30, 512), (600, 512), (30, 100_000)] {
            let start = Instant::now();
            let (mut quota, end) = (Quota::new(start, QUOTA_TIME), start + Duration::from_secs(stopped));
            let mut left = 2400 + 120 * usize::try_from(stopped).unwrap();
            while left > 0 {
                let bytes = left.min(at_once);
                quota.spend(end, bytes, bytes.div_ceil(100)).unwrap();
                left -= bytes;
            }
            for second in 1..100 {
                quota.spend(end + Duration::from_secs(second), 120, 1).unwrap();
            }
        }
    }

    #[test]
    fn flood_is_refused_whatever_was_sent_before() {
        let start = Instant::now();
        for idle in [0, 1, 100, 10_000] {
            let mut quota = Quota::new(start, QUOTA_TIME);
            quota.spend(start, 1, 1).unwrap();
            let now = start + Duration::from_secs(idle);
            let taken = (0..10_000).take_while(|_| quota.spend(now, 512, 2).is_ok()).count();
            assert!(taken * 512 <= 240 * 1024, "{taken}");
        }
        // A little more than the quota, for long.
        let mut quota = Quota::new(start, QUOTA_TIME);
        let mut seconds = (0..100).map(|second| start + Duration::from_secs(second));
        assert!(seconds.any(|now| quota.spend(now, 600, 1).is_err()));
    }
}
