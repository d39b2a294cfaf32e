//! The arguments of the suite.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: fault_suite [--mode MODE] [--duration TIME] [--seed NUMBER] [--journal FILE] [--clients NUMBER]
                   [--preload WHEN] [--only TEXT]

  --mode      shared, reuseport, sync, async, tls, epoll, or all (the default), which divides the time
  --duration  such as 60s or 1h; the default is 60s
  --seed      the same seed gives the same sequence of faults; the default is random, and is printed
  --journal   a file for everything that was done and logged
  --clients   the number of clients; the default is 12
  --preload   whether a template forks the children: always, never, or sometimes (the default), which is in
              every other fleet
  --only      only faults, or ends of fleets, whose name in the report contains this";

/// A form of server, and a kind of listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    /// The option `form` of the server.
    pub(crate) form: &'static str,
    pub(crate) reuseport: bool,
    /// Whether a connection can bring several requests.
    pub(crate) keeps: bool,
    pub(crate) tls: bool,
    /// Whether `/hang` is noticed.
    pub(crate) watched: bool,
}

/// Whether a template forks the children of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preload {
    Always,
    Never,
    Sometimes,
}

impl Preload {
    fn parse(value: &str) -> Option<Self> {
        match value {
            "always" => Some(Self::Always),
            "never" => Some(Self::Never),
            "sometimes" => Some(Self::Sometimes),
            _ => None,
        }
    }

    /// Whether the fleet with this number, from 0, preloads.
    pub(crate) fn of_fleet(self, number: u64, seed: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Sometimes => number.wrapping_add(seed).is_multiple_of(2),
        }
    }
}

const PLAIN: Mode =
    Mode { name: "sync", form: "plain", reuseport: false, keeps: false, tls: false, watched: false };

pub(crate) const MODES: [Mode; 6] = [
    Mode { name: "shared", form: "keeping", keeps: true, watched: true, ..PLAIN },
    Mode { name: "reuseport", form: "keeping", reuseport: true, keeps: true, watched: true, ..PLAIN },
    PLAIN,
    Mode { name: "async", form: "async", keeps: true, watched: true, ..PLAIN },
    Mode { name: "tls", form: "tls", reuseport: true, keeps: true, tls: true, watched: true },
    Mode { name: "epoll", form: "epoll", ..PLAIN },
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) modes: Vec<Mode>,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) clients: usize,
    pub(crate) preload: Preload,
    pub(crate) only: String,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            modes: MODES.to_vec(),
            duration: Duration::from_secs(60),
            seed: fastrand::u64(..1_000_000),
            journal: None,
            clients: 12,
            preload: Preload::Sometimes,
            only: String::new(),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            let invalid = |what: &str| format!("{name} {value}: not {what}");
            match name.as_str() {
                "--mode" if value == "all" => options.modes = MODES.to_vec(),
                "--mode" => {
                    let mode = MODES.into_iter().find(|mode| mode.name == value);
                    options.modes = vec![mode.ok_or_else(|| invalid("a mode"))?];
                }
                "--duration" => {
                    options.duration =
                        humantime::parse_duration(&value).map_err(|_| invalid("a duration"))?;
                }
                "--seed" => options.seed = value.parse().map_err(|_| invalid("a number"))?,
                "--journal" => options.journal = Some(value.into()),
                "--only" => options.only = value,
                "--preload" => {
                    options.preload =
                        Preload::parse(&value).ok_or_else(|| invalid("always, never or sometimes"))?;
                }
                "--clients" => options.clients = value.parse().map_err(|_| invalid("a number"))?,
                _ => return Err(format!("unknown argument: {name}")),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        Options::parse(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        let options = parse("--mode tls --duration 2m --seed 7").unwrap();
        assert_eq!((options.modes[0].name, options.modes.len()), ("tls", 1));
        assert_eq!((options.duration, options.seed), (Duration::from_secs(120), 7));
        assert_eq!(parse("").unwrap().modes.len(), MODES.len());
    }

    #[test]
    fn template_forks_the_children_of_every_other_fleet() {
        let preload = parse("").unwrap().preload;
        assert_eq!([0, 1, 2, 3].map(|fleet| preload.of_fleet(fleet, 7)), [false, true, false, true]);
        let preload = parse("--preload always").unwrap().preload;
        assert_eq!([0, 1].map(|fleet| preload.of_fleet(fleet, 7)), [true, true]);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for (arguments, message) in [
            ("--mode slow", "--mode slow: not a mode"),
            ("--seed", "--seed needs a value"),
            ("--seed x", "--seed x: not a number"),
            ("--preload 3", "--preload 3: not always, never or sometimes"),
            ("--speed 3", "unknown argument: --speed"),
        ] {
            assert_eq!(parse(arguments), Err(message.to_owned()));
        }
    }
}
