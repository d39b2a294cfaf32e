//! The configuration file while a fleet runs: it is read again, and compared with what is in effect.

use std::path::{Path, PathBuf};

use prefork_options::{self as options, OptionRow};

use super::super::Prefork;
use super::super::environment::variables;
use super::super::problems::Problems;
use super::super::values::{Source, Values};
use super::ConfigFile;
use super::load::read;
use crate::error::Error;
use crate::master::{Change, Configuration, Plan, Reread};
use crate::privileges::Privileges;
use crate::protocol::SecretFile;
use crate::serve::Demand;

/// See the [module](self).
#[derive(Debug)]
struct FileConfiguration {
    /// With the values in effect.
    fleet: Prefork,
    /// The number of children that the options ask for.
    workers: usize,
    /// What was read last.
    fresh: Option<Fresh>,
}

#[derive(Debug)]
struct Fresh {
    values: Values,
    config: Option<ConfigFile>,
    workers: usize,
    /// The settings of the file that have no effect.
    idle: Vec<&'static OptionRow>,
}

impl Prefork {
    /// Lets the master of this plan read the configuration file again, if there is one. Otherwise returns the
    /// builder, which owns what user code has given, and is to be dropped when the fleet has ended.
    pub(in super::super) fn watch_config(mut self, plan: &mut Plan) -> Option<Self> {
        if self.config.is_none() {
            return Some(self);
        }
        if !plan.activated.is_empty() {
            // Those sockets are open, and do not have to be those of the option `addr`.
            self.serve.demand = Demand::Any;
        }
        let workers = plan.settings.workers;
        plan.config = Some(Box::new(FileConfiguration { fleet: self, workers, fresh: None }));
        None
    }
}

impl FileConfiguration {
    fn path(&self) -> PathBuf {
        self.fleet.config.as_ref().map(|file| file.path().to_owned()).unwrap_or_default()
    }

    /// The changes, if `fresh` takes the place of what is in effect.
    fn changes(&self, fresh: &Fresh, workers_reason: Option<&String>) -> Vec<Change> {
        let rows = variables().filter(|row| row.is_in_file() && **row != options::WORKERS);
        let mut changes: Vec<Change> = rows
            .filter(|row| !fresh.idle.contains(row))
            .filter_map(|row| {
                let (old, new) = (shown(&self.fleet.values, row), shown(&fresh.values, row));
                let is_applied = !row.needs_upgrade();
                (old != new)
                    .then(|| Change { text: format!("{} changed from {old} to {new}", row.name), is_applied })
            })
            .collect();
        if self.workers != fresh.workers {
            let reason = workers_reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let text = format!("workers changed from {} to {}{reason}", self.workers, fresh.workers);
            changes.insert(0, Change { text, is_applied: true });
        }
        changes
    }
}

impl Configuration for FileConfiguration {
    fn file(&self) -> Option<SecretFile> {
        let ConfigFile { path, text, .. } = self.fleet.config.as_ref()?;
        Some(handed_over(path, text.clone()))
    }

    fn read_again(&mut self) -> Result<Reread, Vec<Error>> {
        let path = self.path();
        let text = read(&path).map_err(|error| vec![error])?;
        let fleet = &mut self.fleet;
        let idle_before = fleet.idle_settings();
        let without_file = fleet.values.without(Source::File);
        let in_effect = (std::mem::replace(&mut fleet.values, without_file), fleet.config.take());
        fleet.apply_config(path, text);
        let mut problems = std::mem::take(&mut fleet.problems);
        problems.add_error_of(fleet.check_has_children());
        let plan = fleet.draft(Vec::new(), &Privileges::default(), &mut problems);
        problems.add_error_of(plan.sockets.check());
        let idle = fleet.idle_settings();
        let problems = problems.into_result().map_err(Problems::into_errors);
        if problems.is_ok() {
            // Those of before have been reported.
            let others = idle.iter().filter(|setting| !idle_before.contains(setting));
            others.for_each(|(row, reason)| fleet.report_idle_setting(row, reason));
        }
        let values = std::mem::replace(&mut fleet.values, in_effect.0);
        let config = std::mem::replace(&mut fleet.config, in_effect.1);
        problems?;
        let idle = idle.into_iter().map(|(row, _)| row).collect();
        let fresh = Fresh { values, config, workers: plan.settings.workers, idle };
        let changes = self.changes(&fresh, plan.workers_reason.as_ref());
        self.fresh = Some(fresh);
        Ok(Reread { plan, changes })
    }

    fn read_unchecked(&self) -> Result<SecretFile, Error> {
        let path = self.path();
        read(&path).map(|text| handed_over(&path, text))
    }

    fn adopt(&mut self) {
        let Some(Fresh { mut values, config, workers, .. }) = self.fresh.take() else { return };
        for row in variables().filter(|row| row.needs_upgrade()) {
            values.copy(row, Source::File, &self.fleet.values);
        }
        self.fleet.values = values;
        self.fleet.config = config;
        self.workers = workers;
    }
}

/// The file as children and the next program get it.
fn handed_over(path: &Path, text: String) -> SecretFile {
    SecretFile { path: path.as_os_str().as_encoded_bytes().to_vec(), content: text.into_bytes() }
}

/// The value of an option, or the rule that applies without one.
fn shown(values: &Values, row: &OptionRow) -> String {
    match values.get(row) {
        Some((_, value)) => value.spell(),
        None => row.default_value().map_or_else(str::to_owned, |value| value.spell()),
    }
}
