//! Values of options.

use std::path::PathBuf;
use std::time::Duration;

use crate::{CpuAffinity, Network, Readiness, Runtime};

/// The value of an option, of one of the types that options have.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// On or off.
    Switch(bool),
    /// A number of things.
    Count(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A duration.
    Duration(Duration),
    /// A number of bytes.
    Size(u64),
    /// Permissions of a file.
    Mode(FileMode),
    /// A network.
    Network(Network),
    /// The condition for a child to be ready.
    Readiness(Readiness),
    /// A tokio runtime.
    Runtime(Runtime),
    /// CPUs.
    Cpus(CpuAffinity),
    /// Text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
    /// The path of a file.
    Path(PathBuf),
    /// Several paths.
    Paths(Vec<PathBuf>),
    /// PEM text.
    Pem(Vec<u8>),
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.spell())
    }
}

impl Value {
    /// The value as messages show it. A key is not shown.
    pub fn spell(&self) -> String {
        match self {
            Self::Switch(on) => on.to_string(),
            Self::Count(number) | Self::Size(number) => number.to_string(),
            Self::Signed(number) => number.to_string(),
            Self::Duration(duration) => humantime::format_duration(*duration).to_string(),
            Self::Mode(FileMode(mode)) => format!("{mode:#o}"),
            Self::Network(network) => network.to_string(),
            Self::Readiness(readiness) => readiness.to_string(),
            Self::Runtime(runtime) => runtime.to_string(),
            Self::Cpus(cpus) => cpus.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(texts) => texts.join(", "),
            Self::Path(path) => path.display().to_string(),
            Self::Paths(paths) => {
                let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
                paths.join(", ")
            }
            Self::Pem(_) => "embedded".to_owned(),
        }
    }
}

/// Permissions of a file, such as `0o660`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "it is a number with a meaning")]
pub struct FileMode(pub u32);

/// Both directions between a type and its variant.
macro_rules! conversions {
    ($($variant:ident($type:ty);)*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }

        impl TryFrom<Value> for $type {
            type Error = Value;

            fn try_from(value: Value) -> Result<Self, Value> {
                match value {
                    Value::$variant(value) => Ok(value),
                    other => Err(other),
                }
            }
        }
    )*};
}

conversions! {
    Switch(bool);
    Signed(i64);
    Duration(Duration);
    Mode(FileMode);
    Network(Network);
    Readiness(Readiness);
    Runtime(Runtime);
    Cpus(CpuAffinity);
    Text(String);
    List(Vec<String>);
    Path(PathBuf);
    Paths(Vec<PathBuf>);
    Pem(Vec<u8>);
}

/// A number of things, whatever its width.
macro_rules! counts {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(count: $type) -> Self {
                Self::Count(u64::try_from(count).unwrap_or(u64::MAX))
            }
        }

        impl TryFrom<Value> for $type {
            type Error = Value;

            fn try_from(value: Value) -> Result<Self, Value> {
                match value {
                    Value::Count(count) => Self::try_from(count).map_err(|_| value),
                    other => Err(other),
                }
            }
        }
    )*};
}

counts!(usize, u32);

impl TryFrom<Value> for u64 {
    type Error = Value;

    fn try_from(value: Value) -> Result<Self, Value> {
        match value {
            Value::Size(bytes) => Ok(bytes),
            other => Err(other),
        }
    }
}

impl From<u64> for Value {
    fn from(bytes: u64) -> Self {
        Self::Size(bytes)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Signed(i64::from(number))
    }
}

impl TryFrom<Value> for i32 {
    type Error = Value;

    fn try_from(value: Value) -> Result<Self, Value> {
        match value {
            Value::Signed(number) => Self::try_from(number).map_err(|_| value),
            other => Err(other),
        }
    }
}
