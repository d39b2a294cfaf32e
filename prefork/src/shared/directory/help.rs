//! The help of a series that is not that of its entry, because a later program has another one.
//!
//! It is no part of the entry, which never changes. A word before the text has its length and its hash: what is half
//! written, or written by two processes at once, is no help, until the next process writes its own.

use super::super::entry::Hash;
use super::super::layout::{LATER_HELP, MAX_HELP, TEXT_WORDS, TEXTS_AT, WORD};
use super::{Directory, Reserve};
use crate::sync::atomic::{AtomicU64, Ordering};

const LENGTH_BITS: u32 = 16;
const LENGTH: u64 = (1 << LENGTH_BITS) - 1;

fn mark(help: &str) -> u64 {
    Hash::new().text(help).finish() & !LENGTH | u64::try_from(help.len()).unwrap_or_default()
}

impl<'a> Directory<'a> {
    fn later_help(self, slot: usize) -> &'a [AtomicU64] {
        &self.words[TEXTS_AT + slot * TEXT_WORDS..][LATER_HELP..TEXT_WORDS]
    }

    fn reserve_help(slot: usize, reserve: &Reserve<'_>) -> bool {
        reserve(TEXTS_AT + slot * TEXT_WORDS + LATER_HELP, TEXT_WORDS - LATER_HELP)
    }

    /// The mark of a slot's later help, which changes with it; 0 without one.
    pub(in crate::shared) fn help_mark(self, slot: usize, reserve: &Reserve<'_>) -> u64 {
        if Self::reserve_help(slot, reserve) { self.later_help(slot)[0].load(Ordering::Acquire) } else { 0 }
    }

    /// The help of this mark, if it is there whole.
    pub(in crate::shared) fn help(self, slot: usize, mark: u64) -> Option<String> {
        let length = usize::try_from(mark & LENGTH).ok().filter(|length| (1..=MAX_HELP).contains(length))?;
        let words = self.later_help(slot)[1..].iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let help = String::from_utf8(words.flatten().take(length).collect()).ok()?;
        (self::mark(&help) == mark).then_some(help)
    }

    /// Makes `own` the help of a series whose entry has the help `first`. A process without one leaves that of others.
    pub(super) fn renew_help(self, slot: usize, (first, own): (&str, &str), reserve: &Reserve<'_>) {
        let known = self.help_mark(slot, reserve);
        let is_right = known == mark(own) || known == 0 && first == own;
        if own.is_empty() || own.len() > MAX_HELP || is_right || !Self::reserve_help(slot, reserve) {
            return;
        }
        let [known, text @ ..] = self.later_help(slot) else { return };
        known.store(0, Ordering::Release);
        for (word, bytes) in text.iter().zip(own.as_bytes().chunks(WORD)) {
            let mut whole = [0; WORD];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        known.store(mark(own), Ordering::Release);
    }
}
