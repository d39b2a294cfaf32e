//! The help of a family, which a later program may have changed.

use std::sync::Arc;

use super::super::directory::Directory;
use super::super::entry::Entry;
use super::Account;

impl Account {
    /// Takes over the help that a process has written since. It is that of the whole family: series that the newer
    /// processes do not use yet have none of their own.
    pub(super) fn refresh_help(&mut self, directory: Directory<'_>, slot: usize) {
        let Some((known, _)) = self.read[slot] else { return };
        let reserve = |at, length| self.region.reserve(at..at + length).is_ok();
        let mark = directory.help_mark(slot, &reserve);
        if mark == self.helps[slot] {
            return;
        }
        // What is half written is read the next time.
        let Some(help) = directory.help(slot, mark) else { return };
        self.helps[slot] = mark;
        let family = self.known[known].family;
        for known in self.known.iter_mut().filter(|known| known.family == family && known.entry.help != help)
        {
            known.entry = Arc::new(Entry { help: help.clone(), ..(*known.entry).clone() });
        }
    }
}
