//! Requests of operators, and what a new generation needs before its first child: certificates and a program.

use std::io;
use std::time::Instant;

use super::messages::any_fleet;
use super::{FleetHandle, Master};
use crate::error::{chain, plain};
use crate::hooks::{self, NotReopened};
use crate::protocol::ToChild;
use crate::supervisor::{ChildId, Event, Request};
use crate::sys::{self, Signal};
use crate::tls::TlsOptions;

impl Master {
    /// Takes the requests that have arrived by signal, by the handle or by the control socket. Returns whether there
    /// were any.
    pub(super) fn take_requests(&mut self) -> io::Result<bool> {
        let signals = self.reactor.take_requests()?;
        let others = self.plan.handle.as_ref().map_or_else(Vec::new, FleetHandle::take_requests);
        let mut any = !signals.is_empty() || !others.is_empty();
        for signal in signals {
            self.on_signal(signal);
        }
        for request in others {
            match request {
                // If nothing holds, that is logged.
                Request::Promote => {
                    let _ = self.promote();
                }
                _ => self.on_request(Instant::now(), request),
            }
        }
        any |= self.take_operations();
        Ok(any)
    }

    pub(super) fn on_signal(&mut self, signal: Signal) {
        let request = match signal {
            Signal::Stop => Request::Stop,
            Signal::Quit => Request::Quit,
            Signal::Grow => Request::Grow,
            Signal::Shrink => Request::Shrink,
            Signal::Reload => Request::Reload,
            Signal::Upgrade => Request::Upgrade,
            // What became of it is logged.
            Signal::ReopenLogs => return drop(self.reopen_logs()),
            Signal::OfTerminal(name) => return any_fleet::report_terminal(&self.plan.logger, name),
        };
        self.on_request(Instant::now(), request);
    }

    /// Lets every process of the fleet open its log files again. Returns what was done, in the words of the log.
    ///
    /// # Errors
    ///
    /// It was not done in the master. The children were told if there is a hook.
    pub(super) fn reopen_logs(&mut self) -> Result<String, NotReopened> {
        let Some(hook) = self.plan.hooks.on_log_reopen.clone() else {
            any_fleet::report_no_log_hook(&self.plan.logger);
            return Err(NotReopened::NoHook);
        };
        let children: Vec<ChildId> = self.children.keys().copied().collect();
        for child in &children {
            self.send(*child, &ToChild::ReopenLogs);
        }
        let _guard = sys::TerminalGuard::begin();
        hooks::run_and_log("on_log_reopen", &*hook, &self.plan.logger).map_err(NotReopened::HookFailed)?;
        Ok(self.report_logs_reopened(children.len()))
    }

    pub(super) fn on_request(&mut self, now: Instant, request: Request) {
        // The reason is logged.
        let _ = self.try_request(now, request);
    }

    /// # Errors
    ///
    /// Why it is refused, which is logged as well.
    pub(super) fn try_request(&mut self, now: Instant, request: Request) -> Result<(), String> {
        if matches!(request, Request::Reload | Request::ReloadWith(_) | Request::Upgrade) {
            self.observers.reload_begins();
        }
        let resolved = match request {
            // A fleet that stops is not changed any more.
            _ if !self.supervisor.takes_changes() => Ok(()),
            Request::Reload | Request::ReloadWith(_) => self.prepare_reload(),
            Request::Upgrade => self.prepare_upgrade().map_err(|reason| vec![reason]),
            Request::Stop
            | Request::Quit
            | Request::Promote
            | Request::Rollback
            | Request::Grow
            | Request::Shrink
            | Request::Resize(_) => Ok(()),
        };
        if let Err(reasons) = resolved {
            let upgrade = request == Request::Upgrade;
            self.observers.reload_failed(if upgrade { "upgrade refused" } else { "reload refused" });
            self.supervisor.handle(now, Event::Refused(request));
            any_fleet::report_refused(&self.plan.logger, &reasons);
            return Err(reasons.join("; "));
        }
        self.supervisor.handle(now, Event::Request(request));
        Ok(())
    }

    /// Reads certificates and looks up the program for a reload.
    pub(super) fn prepare_generation(&mut self, tls: TlsOptions) -> Result<(), String> {
        let next = self.supervisor.next_generation();
        self.store
            .renew(next, tls)
            .map_err(|error| format!("cannot reload: {}; the fleet keeps its certificate", chain(&error)))?;
        self.warn_of_certificate(next);
        self.look_up_program("reload")
    }

    /// Resolves the program's path afresh, for the next generation.
    pub(super) fn look_up_program(&mut self, purpose: &str) -> Result<(), String> {
        let Some((_, program)) = self.programs.last_key_value() else {
            return Err(format!("cannot {purpose}: a bug in prefork lost the program"));
        };
        let path = program.path().display();
        let next = program.afresh().map_err(|error| {
            format!("cannot {purpose}: {path}: {}; the fleet is unchanged", plain(&error))
        })?;
        self.programs.insert(self.supervisor.next_generation(), next);
        Ok(())
    }
}
