//! Options whose values are names, and the error of a name that does not exist.

use std::fmt;
use std::str::FromStr;

use crate::{Names, WORKERS_MAX};

/// The error of text that is not a value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseOptionError {
    pub(crate) value: String,
    pub(crate) expected: String,
}

impl ParseOptionError {
    /// Which text is valid: `` `tcp4`, `tcp6`, `tcp` or `unix` ``.
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for ParseOptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found `{}`", self.expected, self.value)
    }
}

impl std::error::Error for ParseOptionError {}

/// An enum whose variants have a spelling: the enum, both directions, and the list for the attribute.
macro_rules! named {
    ($(#[$attr:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $spelling:literal,)* }) => {
        $(#[$attr])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every spelling, with the name of its variant.
            #[doc(hidden)]
            pub const NAMES: Names = Names {
                type_name: stringify!($name),
                variants: &[$(($spelling, stringify!($variant)),)*],
            };
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $spelling,)* })
            }
        }

        impl FromStr for $name {
            type Err = ParseOptionError;

            fn from_str(name: &str) -> Result<Self, ParseOptionError> {
                match name {
                    $($spelling => Ok(Self::$variant),)*
                    _ => Err(ParseOptionError { value: name.to_owned(), expected: Self::NAMES.list() }),
                }
            }
        }
    };
}

named! {
    /// What the fleet listens on: which IP versions, or a Unix socket.
    Network {
        /// `"tcp4"`: IPv4 only. The default.
        #[default]
        Tcp4 = "tcp4",
        /// `"tcp6"`: IPv6 only, also where the system would map IPv4 onto it.
        Tcp6 = "tcp6",
        /// `"tcp"`: the version of the address; without a host, IPv4 and IPv6 on one socket.
        Tcp = "tcp",
        /// `"unix"`: a Unix socket, whose address is a path or, on Linux, an abstract name after an `@`.
        Unix = "unix",
    }
}

named! {
    /// When a child is ready.
    Readiness {
        /// `"auto"`: when its serve function is about to be called. The default.
        #[default]
        Auto = "auto",
        /// `"manual"`: when it calls `ChildContext::ready`.
        Manual = "manual",
    }
}

named! {
    /// Which tokio runtime an `async` serve function runs on, one in each child.
    Runtime {
        /// `"current_thread"`: one thread; the fleet's processes are the parallelism. The default.
        #[default]
        CurrentThread = "current_thread",
        /// `"multi_thread"`: a thread per core in every child; meant for few workers.
        MultiThread = "multi_thread",
    }
}

/// Which CPUs children run on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpuAffinity {
    /// `"auto"`: the CPUs that the master may use.
    Auto,
    /// `"0-3,8"`: these CPUs.
    Cpus(Vec<usize>),
}

impl CpuAffinity {
    /// The size of the C library's `cpu_set_t`.
    pub(crate) const MOST: usize = 1024;
}

impl fmt::Display for CpuAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpus(cpus) => {
                let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
                f.write_str(&cpus.join(","))
            }
        }
    }
}

impl FromStr for CpuAffinity {
    type Err = ParseOptionError;

    fn from_str(text: &str) -> Result<Self, ParseOptionError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let bad = || ParseOptionError {
            value: text.to_owned(),
            expected: "`auto`, or CPUs such as `0-3,8`".to_owned(),
        };
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let parse = |number: &str| number.trim().parse::<usize>().map_err(|_| bad());
            let (first, last) = (parse(first)?, parse(last)?);
            if first > last || last >= Self::MOST {
                return Err(bad());
            }
            cpus.extend(first..=last);
            // Children take the CPUs in turn, so no more of them have a use.
            if cpus.len() > WORKERS_MAX as usize {
                return Err(bad());
            }
        }
        Ok(Self::Cpus(cpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (spelling, variant) in Network::NAMES.variants {
            let network: Network = spelling.parse().unwrap();
            assert_eq!(
                (network.to_string(), format!("{network:?}")),
                ((*spelling).into(), (*variant).into())
            );
        }
        let error = "udp".parse::<Network>().unwrap_err();
        assert_eq!(error.to_string(), "expected `tcp4`, `tcp6`, `tcp` or `unix`, found `udp`");
    }

    #[test]
    fn cpu_lists_are_parsed_and_bounded() {
        let cases = [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), (" 1, 1 ,0", vec![1, 1, 0])];
        for (text, cpus) in cases {
            assert_eq!(text.parse(), Ok(CpuAffinity::Cpus(cpus)), "{text}");
        }
        for text in ["", "x", "3-1", "-1", "1-", "0,,1", "0-1024", "99999999999999999999"] {
            assert!(text.parse::<CpuAffinity>().is_err(), "{text}");
        }
        // A text of some kilobytes does not take megabytes.
        assert!(["0-1023"; 8].join(",").parse::<CpuAffinity>().is_ok());
        assert!(["0-1023"; 9].join(",").parse::<CpuAffinity>().is_err());
    }
}
