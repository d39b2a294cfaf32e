//! Children that a template forks.
//!
//! A child is a child of this process from its first moment, and its pid is told later. Until then it is in the process
//! group of its template. So a template that ends meanwhile is not reaped before everything that it has forked has a
//! known pid or is reaped: as long as that takes, no other process, and no other group, has its number.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitStatus;

use nix::unistd::Pid;

use super::super::child_process::{Handle, channel_with};
use super::super::platform;
use super::super::process::pid_of;
use super::{Reactor, Watched};
use crate::sys::Handover;

impl<K: Ord + Copy> Reactor<K> {
    /// Orders a child of a template, with what is handed over waiting on its link. `order` is the line for the
    /// template. The child has no pid until [`note_pid`](Self::note_pid).
    pub(crate) fn order_fork(
        &mut self,
        template: K,
        key: K,
        order: &str,
        handover: &Handover<'_>,
    ) -> io::Result<()> {
        let (channel, theirs) = channel_with(handover)?;
        let link = self.children.get_mut(&template).and_then(|process| process.channel.as_mut());
        let link = link.ok_or(io::ErrorKind::NotConnected)?;
        self.poller.add_while(&channel, Watched::Link(key), || link.send_end(order, theirs.as_fd()))?;
        link.expect_line();
        self.ordered.insert(key, template);
        self.insert(key, Handle::Ordered, Some(channel));
        Ok(())
    }

    /// Notes the pid of a child that was ordered, if it can be one: it is a child of this process, no other key has it,
    /// and its group is its own or the template's. Returns whether it is.
    pub(crate) fn note_pid(&mut self, key: K, pid: u32) -> bool {
        let (Ok(pid), Some(template)) = (pid_of(pid), self.ordered.get(&key)) else { return false };
        let group = platform::fork::group_of_child(pid);
        let is_its_group = |group| group == pid || self.pid_of_template(*template) == Some(group);
        if self.is_known(pid) || !group.is_some_and(is_its_group) {
            return false;
        }
        let Some(process) = self.children.get_mut(&key) else { return false };
        process.handle = Handle::Pid(pid);
        self.ordered.remove(&key);
        self.watch_end(key);
        self.reap_forked();
        true
    }

    fn pid_of_template(&self, template: K) -> Option<Pid> {
        let alive = self.children.get(&template).and_then(|process| process.handle.id().ok());
        alive.or_else(|| self.ended_templates.get(&template).copied())
    }

    fn is_known(&self, pid: Pid) -> bool {
        self.pids.contains(&pid) || self.ended_templates.values().any(|template| *template == pid)
    }

    /// Whether the other end of a child's channel is closed.
    pub(crate) fn channel_is_closed(&self, key: K) -> bool {
        self.children.get(&key).is_none_or(|process| process.channel.is_none())
    }

    /// Forgets a child that was ordered, and that there is none of.
    pub(crate) fn forget_order(&mut self, key: K) {
        if self.ordered.remove(&key).is_some() {
            self.forget(key);
            self.reap_forked();
        }
    }

    /// Kills what an ended template has forked and whose pid is not known.
    pub(crate) fn kill_forked(&self, template: K) {
        if let Some(pid) = self.ended_templates.get(&template) {
            platform::fork::kill_group(*pid);
        }
    }

    /// The status of a template that has ended and has to stay a zombie.
    pub(super) fn end_of_template(&mut self, key: K) -> io::Result<Option<ExitStatus>> {
        if !self.ordered.values().any(|template| *template == key) {
            return Ok(None);
        }
        let Some(process) = self.children.get(&key) else { return Ok(None) };
        let pid = process.handle.id()?;
        let status = platform::fork::status_of_zombie(pid)?;
        if status.is_some() {
            self.ended_templates.insert(key, pid);
        }
        Ok(status)
    }

    /// Reaps ended templates that have no unanswered order, with what they have forked. A process of theirs that is
    /// about to end is reaped in a later call: its end is told by SIGCHLD.
    pub(super) fn reap_forked(&mut self) {
        if self.ended_templates.is_empty() {
            return;
        }
        let Self { ended_templates, ordered, pids, .. } = self;
        ended_templates.retain(|key, pid| {
            let is_awaited = ordered.values().any(|template| template == key);
            is_awaited || !platform::fork::reap_group(*pid, pids)
        });
    }

    /// Kills and reaps a template that may live, and what it has forked and has no known pid.
    pub(super) fn destroy_template(&mut self, template: K) {
        if let Some(pid) = self.pid_of_template(template) {
            self.forget(template);
            self.ended_templates.insert(template, pid);
        }
    }

    /// Kills and reaps ended templates and what they have forked.
    pub(super) fn destroy_forked(&mut self) {
        for template in std::mem::take(&mut self.ended_templates).into_values() {
            platform::fork::kill_group(template);
            platform::fork::wait_for_group(template);
        }
    }
}
