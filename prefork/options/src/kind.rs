//! Which values an option takes: how text becomes a value, and which values are in bounds.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::address;
use crate::{FileMode, Network, Readiness, Runtime, Value};

/// The bound of durations that have no other: a longer one is a typing mistake.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 86_400);
/// Read, write and execute for owner, group and others.
const MODE_MAX: u32 = 0o777;
/// ALPN has one byte for the length of a name.
const PROTOCOL_LENGTHS: std::ops::RangeInclusive<usize> = 1..=255;

/// Which values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a new kind needs code in the attribute")]
pub enum Kind {
    /// On or off; on where the attribute names it without a value.
    Switch,
    /// A whole number from the first to the second.
    Count(u64, u64),
    /// A whole number from the first to the second, which may be negative.
    Signed(i64, i64),
    /// A duration such as `5s`, from the first to the second.
    Duration(Duration, Duration),
    /// A number of bytes above zero, or text such as `512MiB`.
    Size,
    /// Permissions of a file, such as `660`.
    Mode,
    /// The name of a network.
    Network,
    /// `auto` or `manual`.
    Readiness,
    /// The name of a tokio runtime.
    Runtime,
    /// `auto`, or CPUs such as `0-3,8`.
    Cpus,
    /// `host:port`, `unix:/path` or `systemd:name`, or several.
    Addrs,
    /// `host:port`.
    TcpAddr,
    /// The name of a user or group, or its number.
    Account,
    /// `user`, `user:group` or `:group`.
    Owner,
    /// Text without control characters.
    Title,
    /// The path of a file.
    File,
    /// The paths of several files.
    Files,
    /// PEM text.
    Pem,
    /// Names of protocols.
    Protocols,
    /// A function or closure.
    Function,
    /// A value that implements `log::Log`.
    Logger,
    /// The path of a crate.
    CratePath,
}

/// An enum whose variants have a spelling.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "only this crate makes values of it")]
pub struct Names {
    /// The enum's name.
    pub type_name: &'static str,
    /// Spelling and variant.
    pub variants: &'static [(&'static str, &'static str)],
}

impl Names {
    /// `` `one`, `two` or `three` ``.
    pub(crate) fn list(&self) -> String {
        let names: Vec<String> = self.variants.iter().map(|(name, _)| format!("`{name}`")).collect();
        match names.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The text is not of the option's kind.
    Malformed,
    /// The text is empty.
    Empty,
    /// A duration without its unit.
    NoUnit,
    /// The value is below this bound.
    Below(String),
    /// The value is above this bound.
    Above(String),
    /// A sentence about an address.
    Address(String),
}

impl fmt::Display for Kind {
    /// What the option takes, for `expected …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("`true` or `false`"),
            Self::Count(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Signed(least, most) => write!(f, "a number from {least} to {most}"),
            Self::Duration(..) => f.write_str("a duration such as `250ms`, `5s` or `2m`"),
            Self::Size => f.write_str("a size such as `512MiB` or `2GB`, or bytes, above zero"),
            Self::Mode => f.write_str("permissions in octal, such as `660`, from `0o000` to `0o777`"),
            Self::Network => f.write_str(&Network::NAMES.list()),
            Self::Readiness => f.write_str(&Readiness::NAMES.list()),
            Self::Runtime => f.write_str(&Runtime::NAMES.list()),
            Self::Cpus => f.write_str("`auto`, or CPUs such as `0-3,8`"),
            Self::Addrs => f.write_str("`host:port`, `:port`, `[v6 address]:port` or `unix:/path`"),
            Self::TcpAddr => f.write_str("`host:port`, `:port` or `[v6 address]:port`"),
            Self::Account => f.write_str("a name or a number"),
            Self::Owner => f.write_str("`user`, `user:group` or `:group`"),
            Self::Title => f.write_str("text without control characters"),
            Self::File => f.write_str("the path of a file"),
            Self::Files => f.write_str("paths of files"),
            Self::Pem => f.write_str("PEM text"),
            Self::Protocols => f.write_str("names of 1 to 255 bytes, such as `http/1.1`"),
            Self::Function => f.write_str("a function or a closure"),
            Self::Logger => f.write_str("a value that implements `log::Log`"),
            Self::CratePath => f.write_str("the path of a crate"),
        }
    }
}

impl Kind {
    /// The names that the option takes, if it takes names.
    pub fn names(&self) -> Option<&'static Names> {
        match self {
            Self::Network => Some(&Network::NAMES),
            Self::Readiness => Some(&Readiness::NAMES),
            Self::Runtime => Some(&Runtime::NAMES),
            _ => None,
        }
    }

    /// What the option expects, given what is wrong with a value.
    pub fn expected(&self, problem: &Problem) -> String {
        match (self, problem) {
            (_, Problem::Address(reason)) => reason.clone(),
            (Self::Duration(..), Problem::Below(least)) => format!("at least {least}"),
            (Self::Duration(..), Problem::Above(most)) => format!("at most {most}"),
            _ => self.to_string(),
        }
    }

    /// The value that `text` stands for, as an environment variable holds it. It is in bounds.
    ///
    /// # Errors
    ///
    /// What is wrong with the text or the value. [`Function`](Self::Function) and the other kinds that
    /// only a program can supply are [`Malformed`](Problem::Malformed).
    pub fn parse(&self, text: &str) -> Result<Value, Problem> {
        let value = match self {
            Self::Switch => text.parse::<bool>().map(Value::from).map_err(|_| Problem::Malformed),
            Self::Count(..) => count(text).map(Value::Count),
            Self::Signed(..) => signed(text).map(Value::Signed),
            Self::Duration(..) => duration(text).map(Value::Duration),
            Self::Size => parse_size::parse_size(text).map(Value::Size).map_err(|_| Problem::Malformed),
            Self::Mode => mode(text).map(Value::Mode),
            Self::Network => text.parse().map(Value::Network).map_err(|_| Problem::Malformed),
            Self::Readiness => text.parse().map(Value::Readiness).map_err(|_| Problem::Malformed),
            Self::Runtime => text.parse().map(Value::Runtime).map_err(|_| Problem::Malformed),
            Self::Cpus => text.parse().map(Value::Cpus).map_err(|_| Problem::Malformed),
            Self::Addrs => Ok(Value::List(text.split(',').map(|addr| addr.trim().to_owned()).collect())),
            Self::TcpAddr | Self::Account | Self::Owner | Self::Title => Ok(Value::Text(text.to_owned())),
            Self::File => Ok(Value::Path(PathBuf::from(text))),
            Self::Files => Ok(Value::Paths(env::split_paths(text).collect())),
            Self::Pem => Ok(Value::Pem(text.as_bytes().to_vec())),
            Self::Protocols => Ok(Value::List(text.split(',').map(|name| name.trim().to_owned()).collect())),
            Self::Function | Self::Logger | Self::CratePath => Err(Problem::Malformed),
        }?;
        self.check(&value).map(|()| value)
    }

    /// Whether a value is in bounds.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self, value: &Value) -> Result<(), Problem> {
        match (self, value) {
            (Self::Count(least, most), Value::Count(number)) => within(number, least, most),
            (Self::Signed(least, most), Value::Signed(number)) => within(number, least, most),
            (Self::Duration(least, _), Value::Duration(duration)) if duration < least => {
                Err(Problem::Below(spell(*least)))
            }
            (Self::Duration(_, most), Value::Duration(duration)) if duration > most => {
                let most = if *most == LONGEST { "365 days".to_owned() } else { spell(*most) };
                Err(Problem::Above(most))
            }
            (Self::Size, Value::Size(0)) => Err(Problem::Below("1".to_owned())),
            (Self::Mode, Value::Mode(FileMode(mode))) if *mode > MODE_MAX => {
                Err(Problem::Above("0o777".to_owned()))
            }
            (Self::Addrs, Value::List(addrs)) if addrs.is_empty() => Err(Problem::Empty),
            (Self::Account | Self::Owner, Value::Text(text)) if text.is_empty() => Err(Problem::Empty),
            (Self::File, Value::Path(path)) if path.as_os_str().is_empty() => Err(Problem::Empty),
            (Self::Title, Value::Text(text)) if text.contains(char::is_control) => Err(Problem::Malformed),
            (Self::TcpAddr, Value::Text(addr)) => {
                address::parse_tcp(addr).map(drop).map_err(Problem::Address)
            }
            (Self::Protocols, Value::List(names)) => {
                let fits = names.iter().all(|name| PROTOCOL_LENGTHS.contains(&name.len()));
                if fits { Ok(()) } else { Err(Problem::Malformed) }
            }
            _ => Ok(()),
        }
    }
}

fn within<T: PartialOrd + ToString>(number: &T, least: &T, most: &T) -> Result<(), Problem> {
    if number < least {
        Err(Problem::Below(least.to_string()))
    } else if number > most {
        Err(Problem::Above(most.to_string()))
    } else {
        Ok(())
    }
}

fn spell(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A number that is too large for any bound is above the bound, and not malformed.
fn count(text: &str) -> Result<u64, Problem> {
    let digits = text.trim();
    match digits.parse() {
        Ok(number) => Ok(number),
        Err(_) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(u64::MAX),
        Err(_) => Err(Problem::Malformed),
    }
}

fn signed(text: &str) -> Result<i64, Problem> {
    text.trim().parse().map_err(|_| Problem::Malformed)
}

fn duration(text: &str) -> Result<Duration, Problem> {
    if text.is_empty() {
        return Err(Problem::Empty);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::NoUnit);
    }
    humantime::parse_duration(text).map_err(|_| Problem::Malformed)
}

fn mode(text: &str) -> Result<FileMode, Problem> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8).map(FileMode).map_err(|_| Problem::Malformed)
}
