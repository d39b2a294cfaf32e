//! The configuration file: a source of options between the attribute and the environment.
//!
//! - `mod.rs`: the file that is in effect, and its place in messages
//! - `parse.rs` (feature `config`): from text to values
//! - `load.rs` (feature `config`): reads the file for a start, or takes the text that the master handed over
//! - `reread.rs` (feature `config`): reads the file again while the fleet runs

#[cfg(all(feature = "config", any(test, fuzzing)))]
pub(super) mod fuzzing;
#[cfg(feature = "config")]
mod load;
#[cfg(feature = "config")]
mod parse;
#[cfg(feature = "config")]
mod reread;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use prefork_options::{self as options, OptionRow};

use super::Prefork;
use super::environment::{has_feature, variables};
use super::values::{Source, differ};
#[cfg(not(feature = "config"))]
use crate::protocol::SecretFile;

/// A line and a column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A configuration file that was read.
#[derive(Clone, Default)]
pub(super) struct ConfigFile {
    path: PathBuf,
    #[cfg_attr(not(feature = "config"), expect(dead_code, reason = "there is no file"))]
    text: String,
    /// Where the value of each setting is.
    places: BTreeMap<&'static str, Place>,
}

/// Leaves the text out.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConfigFile").field(&self.path).finish()
    }
}

impl ConfigFile {
    /// The place of a setting, for messages: `/etc/app/prefork.toml:3:11`.
    pub(super) fn place_of(&self, row: &OptionRow) -> String {
        match self.places.get(row.setting()) {
            Some(place) => at(&self.path, *place),
            None => self.path.display().to_string(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A place in a file, for messages.
fn at(path: &Path, place: Place) -> String {
    format!("{}:{place}", path.display())
}

impl Prefork {
    /// Whether an option names a configuration file that could not be read. Without its options this process is
    /// not what it was started as.
    pub(super) fn lacks_config(&self) -> bool {
        has_feature(&options::CONFIG) && self.values.get(&options::CONFIG).is_some() && self.config.is_none()
    }

    /// Without the feature `config`, no file is read.
    #[cfg(not(feature = "config"))]
    pub(super) fn with_config(self, _passed: Option<SecretFile>) -> Self {
        self
    }

    /// Without the feature `config`, there is no file to read again.
    #[cfg(not(feature = "config"))]
    pub(super) fn watch_config(self, _plan: &mut crate::master::Plan) -> Option<Self> {
        Some(self)
    }

    /// Logs which file is in effect, which of its settings override the attribute, and which have no effect.
    pub(super) fn report_config(&self) {
        let Some(file) = &self.config else { return };
        let count = match file.places.len() {
            1 => "1 option".to_owned(),
            count => format!("{count} options"),
        };
        let event = self.logger.event("configured");
        event.info(format_args!("configuration file {}: {count}", file.path.display()));
        self.report_idle_settings();
        for row in variables().filter(|row| file.places.contains_key(row.setting())) {
            let (place, setting) = (file.place_of(row), row.setting());
            if let Some((ours, theirs)) = self.values.overridden(row, Source::File).filter(differ) {
                let (ours, theirs) = (ours.spell(), theirs.spell());
                let event = self.logger.event("overridden");
                event.info(format_args!("{place}: {setting} = {ours} overrides {setting} = {theirs}"));
            }
        }
    }

    /// Warns of the settings of the file that have no effect.
    pub(super) fn report_idle_settings(&self) {
        self.idle_settings().into_iter().for_each(|(row, reason)| self.report_idle_setting(row, &reason));
    }

    fn report_idle_setting(&self, row: &OptionRow, reason: &str) {
        let Some(file) = &self.config else { return };
        let (place, setting) = (file.place_of(row), row.setting());
        self.logger.event("idle_setting").warn(format_args!("{place}: {setting} has no effect: {reason}"));
    }

    /// The settings of the file that have no effect, and why.
    fn idle_settings(&self) -> Vec<(&'static OptionRow, String)> {
        let Some(file) = &self.config else { return Vec::new() };
        let rows = variables().filter(|row| file.places.contains_key(row.setting()));
        rows.filter_map(|row| Some((row, self.idle_reason(row)?))).collect()
    }
}
