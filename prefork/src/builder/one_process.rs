//! `workers = 0`: the serve function runs in the master's own process.

use std::process::ExitCode;

use prefork_options::{self as options, OptionRow};

use super::values::bad;
use super::{End, Prefork};
use crate::child::Limits;
use crate::error::Error;
use crate::logging::HeldMessages;
use crate::one_process;
use crate::privileges::Privileges;
use crate::serve::ServeOptions;
use crate::sys;

/// Options that are about children. A program that sets them can be run without any.
const IDLE: [&OptionRow; 13] = [
    &options::REUSEPORT,
    &options::MAX_WORKERS,
    &options::RECOVER,
    &options::RECOVER_WINDOW,
    &options::RECOVER_INTERVAL,
    &options::START_TIMEOUT,
    &options::RELOAD_PARALLEL,
    &options::CANARY,
    &options::HOLD,
    &options::MAX_LIFETIME,
    &options::MAX_RSS,
    &options::TITLE,
    &options::CPU_AFFINITY,
];

impl Prefork {
    pub(super) fn has_no_children(&self) -> bool {
        self.get(&options::WORKERS) == Some(0_usize)
    }

    /// Serves in this process.
    pub(super) fn serve_in_one_process(mut self) -> Result<End, Error> {
        let held = HeldMessages::begin();
        self.report_config();
        self.report_variables();
        let activated = sys::activated().map_err(Error::activation)?;
        let plan = self.plan(activated, &Privileges::default());
        let plan = plan.map_err(|problems| problems.into_first(&self.logger))?;
        self.report_idle_options();
        let options = self.serve_options();
        let limits = Limits { max_rss: None, ..options.limits };
        let code = one_process::run(plan, self.serve, ServeOptions { limits, ..options }, held)?;
        Ok(if code == ExitCode::SUCCESS { End::Fleet } else { End::Process(code) })
    }

    /// Logs in one line what is set and has no effect.
    fn report_idle_options(&self) {
        let set = IDLE.into_iter().filter(|row| self.values.source(row).is_some());
        let hooks = [
            (&options::ON_MASTER_DEATH, self.hooks.on_master_death.is_some()),
            (&options::ON_CHILD_SPAWN, self.hooks.on_child_spawn.is_some()),
            (&options::ON_CHILD_RECOVER, self.hooks.on_child_recover.is_some()),
            (&options::ON_CANARY, self.hooks.on_canary.is_some()),
            (&options::COMMAND_PRODUCER, self.hooks.command_producer.is_some()),
        ];
        let hooks = hooks.into_iter().filter(|(_, is_set)| *is_set).map(|(row, _)| row);
        let names: Vec<&str> = set.chain(hooks).map(|row| row.name).collect();
        if !names.is_empty() {
            let event = self.logger.event("idle_options");
            event.info(format_args!("no effect without children: {}", names.join(", ")));
        }
    }

    /// Refuses `workers = 0` for a fleet that runs.
    pub(super) fn check_has_children(&self) -> Result<(), Error> {
        if !self.has_no_children() {
            return Ok(());
        }
        let expected = "1 or more, because a fleet that runs keeps its children until a restart";
        Err(bad(self.name_of(&options::WORKERS), 0, expected))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::IDLE;

    #[test]
    fn guide_names_the_options_without_effect() {
        let guide = include_str!("../../docs/serving.md");
        let (_, section) = guide.split_once("\n| | with `workers = 0` |\n").unwrap();
        let mut rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
        let (named, _) = rows.find(|(_, effect)| effect.starts_with("no effect:")).unwrap();
        let named: BTreeSet<&str> = named.split(", ").map(|name| name.trim_matches('`')).collect();
        assert_eq!(named, IDLE.iter().map(|row| row.name).collect());
    }
}
