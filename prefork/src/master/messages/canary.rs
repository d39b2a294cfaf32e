//! Messages about a reload with a canary.

use std::time::Duration;

use super::{any_fleet, children, readable};
use crate::master::Master;
use crate::supervisor::{Remark, RollbackReason};

impl Master {
    /// Logs what the supervisor has to say about a canary.
    pub(super) fn log_canary(&mut self, remark: &Remark) {
        match remark {
            Remark::ReloadingCanary { generation, children } => {
                self.report_reloading_canary(*generation, *children);
            }
            Remark::Holding { generation, children, of, hold } => {
                self.report_holding(*generation, *children, *of, *hold);
            }
            Remark::Promoted { generation } => {
                let event = self.plan.logger.event("promoted").generation(*generation);
                event.info(format_args!("promoted: generation {generation} replaces the other children too"));
            }
            Remark::RollingBack { generation, children, reason } => {
                self.report_rolling_back(*generation, *children, *reason);
            }
            Remark::RolledBack { generation } => {
                let event = self.plan.logger.event("rolled_back").generation(*generation);
                event.info(format_args!("rolled back: the fleet is of generation {generation} again"));
            }
            Remark::RestoringFailed { slot, again_in } => {
                let event = self.plan.logger.event("restore_retried").slot(*slot);
                event.error(format_args!(
                    "child {slot} is not rolled back yet: the child of the generation before did not become \
                     ready; another attempt in {}",
                    readable(*again_in)
                ));
            }
            Remark::NothingHeld(request, reason) => {
                any_fleet::report_nothing_held(&self.plan.logger, *request, *reason);
            }
            _ => {}
        }
    }

    fn report_reloading_canary(&self, generation: u32, count: usize) {
        self.plan.logger.event("reloading").generation(generation).info(format_args!(
            "reloading: generation {generation} of {} replaces {count} of {}, new before old, and holds",
            self.path_of(generation),
            children(self.supervisor.fleet_size())
        ));
    }

    fn report_holding(&self, generation: u32, count: usize, of: usize, hold: Option<Duration>) {
        let end = hold.map(|hold| format!("in {}, or ", readable(hold))).unwrap_or_default();
        self.plan.logger.event("holding").generation(generation).info(format_args!(
            "holding: generation {generation} has {count} of {}; the reload goes on {end}when it is promoted",
            children(of)
        ));
    }

    fn report_rolling_back(&mut self, generation: u32, count: usize, reason: RollbackReason) {
        self.observers.reload_failed("reload rolled back");
        let program = self.canary.reason.take();
        let (reason, failed) = match reason {
            RollbackReason::Requested => ("requested".to_owned(), None),
            RollbackReason::Removed => ("its slots were removed".to_owned(), None),
            RollbackReason::Failed { slot } => (format!("new child {slot} failed"), Some(slot)),
            RollbackReason::Program => {
                (format!("hook on_canary: {}", one_line(&program.unwrap_or_default())), None)
            }
        };
        let event = self.plan.logger.event("rolling_back").generation(generation);
        let event = match failed {
            Some(slot) => event.slot(slot),
            None => event,
        };
        event.error(format_args!(
            "rolling back generation {generation}: {reason}; the generation before replaces {}",
            children(count)
        ));
    }

    pub(in crate::master) fn report_promoted_by_hook(&self) {
        self.plan.logger.event("canary_judged").info("hook on_canary promotes the new children");
    }
}

/// The program's own words, in one line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn words_of_the_program_are_one_line() {
        assert_eq!(one_line("5 % \"failed\"\nerror: x\u{1b}"), "5 % \"failed\" error: x ");
    }
}
