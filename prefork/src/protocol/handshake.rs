//! What master and child say to each other, both ends in one file.
//!
//! The wire is lines of text over the channel that the platform supplies (on Unix a socket pair,
//! whose child's end is the child's standard input):
//!
//! ```text
//! master ─▶ child   prefork/1 slot=0 fleet=4 generation=0 grace_ms=5000 master=4711 trial=false secrets=true title=app   + listeners
//!                   and the privileges it runs under, if it is told any: uid=33 nice=5 …
//! master ─▶ child   secrets   what the store holds for it, if the greeting says so   + a file without a name
//! child ─▶ master   here      the handshake is taken
//! child ─▶ master   ready     the serve function is about to be called
//! child ─▶ master   recycle_requested     it wants to be replaced, new before old
//! master ─▶ child   announce_stop  the fleet will stop soon; go on serving
//! master ─▶ child   retire    stop, once nothing waits on the listener any more
//! end of file       the other side is dead
//! ```
//!
//! On Windows the channel is a pipe, and secrets do not pass: a child reads the files itself. What a signal or a descriptor does elsewhere, words do there that
//! never leave `sys`: a child asks for its listeners, and a master for a stop.
//!
//! A reload can put a newer or older program on the child's end. So a reader skips lines and fields that it
//! does not know, and a missing field has a default; what cannot be understood that way gets a new
//! number in the greeting.

use std::io;
use std::time::Duration;

use crate::privileges::Privileges;
use crate::protocol::codec::{escape, unescape};
use crate::sys::GREETING;

/// What a child needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handshake {
    pub(crate) slot: usize,
    pub(crate) fleet: usize,
    pub(crate) generation: u32,
    pub(crate) grace: Duration,
    pub(crate) master: u32,
    /// Whether this child is to replace another, and so has to check what only a master needs as well.
    pub(crate) trial: bool,
    /// Whether secrets come after the greeting.
    pub(crate) secrets: bool,
    /// What the fleet's processes call themselves; empty: nothing.
    pub(crate) title: String,
    pub(crate) privileges: Privileges,
}

impl Handshake {
    pub(crate) fn to_line(&self) -> String {
        format!(
            "{GREETING}slot={} fleet={} generation={} grace_ms={} master={} trial={} secrets={} title={}{}",
            self.slot,
            self.fleet,
            self.generation,
            self.grace.as_millis(),
            self.master,
            self.trial,
            self.secrets,
            escape(self.title.as_ref()),
            self.privileges.to_fields()
        )
    }

    /// Reads a master's greeting.
    pub(crate) fn from_line(line: &str) -> io::Result<Self> {
        let fields =
            line.strip_prefix(GREETING).ok_or_else(|| invalid("a greeting of another version", line))?;
        let mut handshake = Self {
            slot: 0,
            fleet: 1,
            generation: 0,
            grace: Duration::from_secs(5),
            master: 0,
            trial: false,
            secrets: false,
            title: String::new(),
            privileges: Privileges::default(),
        };
        for (name, value) in fields.split_whitespace().filter_map(|field| field.split_once('=')) {
            match name {
                "slot" => handshake.slot = number(name, value)?,
                "fleet" => handshake.fleet = number(name, value)?,
                "generation" => handshake.generation = number(name, value)?,
                "grace_ms" => handshake.grace = Duration::from_millis(number(name, value)?),
                "master" => handshake.master = number(name, value)?,
                "trial" => handshake.trial = number(name, value)?,
                "secrets" => handshake.secrets = number(name, value)?,
                "title" => {
                    let title = unescape(value).and_then(|title| title.into_string().ok());
                    handshake.title = title.ok_or_else(|| invalid(name, value))?;
                }
                _ => handshake.privileges.read_field(name, value).ok_or_else(|| invalid(name, value))?,
            }
        }
        Ok(handshake)
    }
}

/// What a child says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToMaster {
    /// The handshake is taken.
    Received,
    /// The serve function is about to be called.
    Ready,
    /// It wants to be replaced, new before old.
    Recycle,
}

impl ToMaster {
    pub(crate) fn to_line(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Ready => "ready",
            Self::Recycle => "recycle",
        }
    }

    /// `None` for a word that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        [Self::Received, Self::Ready, Self::Recycle].into_iter().find(|word| word.to_line() == line)
    }
}

/// What the master says after the greeting. A stop is a signal on Unix, so that it reaches a child
/// that is wrapped in another program as well; where there is none, `sys` has a word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToChild {
    /// The fleet will stop soon; go on serving.
    AnnounceStop,
    /// Stop, once nothing waits on the listener any more.
    StopAfterQueue,
}

impl ToChild {
    pub(crate) fn to_line(self) -> &'static str {
        match self {
            Self::AnnounceStop => "announce-stop",
            Self::StopAfterQueue => "stop-after-queue",
        }
    }

    /// `None` for an instruction that this version does not know.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        [Self::AnnounceStop, Self::StopAfterQueue]
            .into_iter()
            .find(|instruction| instruction.to_line() == line)
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> io::Result<T> {
    value.parse().map_err(|_| invalid(name, value))
}

fn invalid(what: &str, value: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the master sent {what}: `{value}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        Handshake {
            slot: 3,
            fleet: 8,
            generation: 2,
            grace: Duration::from_millis(1500),
            master: 4711,
            trial: true,
            secrets: true,
            title: "two words".to_owned(),
            privileges: Privileges { nice: Some(5), no_new_privs: true, ..Privileges::default() },
        }
    }

    #[test]
    fn a_greeting_survives_the_wire() {
        assert_eq!(Handshake::from_line(&handshake().to_line()).unwrap(), handshake());
    }

    #[test]
    fn a_newer_master_is_understood_and_a_strange_one_refused() {
        let newer = format!("{} colour=blue flag", handshake().to_line());
        assert_eq!(Handshake::from_line(&newer).unwrap(), handshake());
        assert!(Handshake::from_line("prefork/2 slot=0").is_err());
        assert!(Handshake::from_line("prefork/1 slot=x").is_err());
    }

    #[test]
    fn words_survive_the_wire_and_unknown_ones_are_skipped() {
        for word in [ToMaster::Received, ToMaster::Ready, ToMaster::Recycle] {
            assert_eq!(ToMaster::from_line(word.to_line()), Some(word));
        }
        for instruction in [ToChild::AnnounceStop, ToChild::StopAfterQueue] {
            assert_eq!(ToChild::from_line(instruction.to_line()), Some(instruction));
        }
        assert_eq!(ToMaster::from_line("thirsty"), None);
    }
}
