//! What the next program needs: told by the child that checks it, and opened before the exec.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use socket2::Socket;

use crate::error::{Error, chain};
use crate::listen::{self, Arrangement, Endpoint, ResolvedEndpoint};
use crate::master::control::ControlSocket;
use crate::master::{GenerationOptions, Master, Plan, StopOrder, create_pid_file};
use crate::protocol::{Handshake, UpgradePlan};
use crate::supervisor::{ChildId, Event};
use crate::sys::PidFile;

/// What was opened for the next program. Dropping it closes that again, and removes its files.
#[derive(Debug)]
pub(in crate::master) struct NextProgram {
    pub(in crate::master) generation: u32,
    pub(in crate::master) plan: UpgradePlan,
    pub(in crate::master) arrangement: Arrangement,
    /// The listener of the health endpoint, unless the present one stays.
    pub(super) health: Option<Socket>,
    /// The control socket, unless the present one stays.
    pub(super) control: Option<ControlSocket>,
    /// The pid file, unless the present one stays.
    pub(super) pid_file: Option<PidFile>,
}

impl NextProgram {
    /// The handshake of the trial child, which the master's options do not determine.
    pub(in crate::master) fn handshake(&self, handshake: Handshake) -> Handshake {
        let UpgradePlan { workers: fleet, grace, .. } = self.plan;
        Handshake { upgrade: true, fleet, grace, title: self.plan.title.clone(), ..handshake }
    }

    pub(in crate::master) fn lost() -> io::Error {
        io::Error::other("what the new program needs was lost, which is a bug in prefork")
    }
}

/// What this program, whose options are checked, needs of the present master. The trial child checks the
/// certificates, which the master reads.
///
/// # Errors
///
/// [`Error::Resolve`] if an address cannot be resolved.
pub(crate) fn needs_of(plan: &Plan) -> Result<UpgradePlan, Error> {
    let Plan { sharing, sockets, health, control, pid_file, settings, privileges, title, cpus, .. } = plan;
    Ok(UpgradePlan {
        workers: settings.workers,
        grace: settings.grace,
        title: title.clone(),
        sharing: *sharing,
        endpoints: plan.endpoints.iter().map(Endpoint::resolved).collect::<Result<_, _>>()?,
        sockets: *sockets,
        health: health.as_deref().map(ResolvedEndpoint::beside).transpose()?,
        control: control.clone(),
        pid_file: pid_file.clone(),
        secret_files: plan.tls.files().map(Path::to_owned).collect(),
        privileges: privileges.clone(),
        cpus: cpus.clone(),
    })
}

impl Master {
    /// Handles the answer of the child that checks the next program.
    pub(in crate::master) fn on_upgrade_plan(&mut self, child: ChildId, line: &str) {
        // It ends by itself, maybe in this very turn.
        self.children.get_mut(&child).into_iter().for_each(|entry| entry.note_order(StopOrder::Given));
        // What was opened for an earlier attempt may be in the way.
        self.reconcile();
        let event = match self.prepare(line) {
            Ok(next) => {
                self.next = Some(next);
                Event::Checked(child)
            }
            Err(reason) => {
                self.report_upgrade_aborted(&reason);
                Event::UpgradeRefused
            }
        };
        self.supervisor.handle(Instant::now(), event);
    }

    /// Opens what the next program needs.
    fn prepare(&mut self, line: &str) -> Result<NextProgram, String> {
        let text = |error: &Error| chain(error).to_string();
        let plan = UpgradePlan::from_line(line).map_err(|error| error.to_string())?;
        let generation = self.supervisor.upgrade_generation();
        let generation = generation.ok_or_else(|| NextProgram::lost().to_string())?;
        let options = self.options_of(generation).map_err(|error| error.to_string())?;
        self.store.read(generation, &plan.secret_files).map_err(|error| text(&error))?;
        let present = self.observers.health_listener();
        let wanted = plan.health.as_ref();
        let keeps_health = present.is_some()
            && wanted.is_some_and(|wanted| self.plan.health.as_ref() == Some(&wanted.endpoint.addr));
        let beside: Vec<&Socket> = present.into_iter().filter(|_| !keeps_health).collect();
        let arrangement = self.sockets.arrange(&plan.endpoints, plan.sharing, plan.sockets, &beside);
        let arrangement = arrangement.map_err(|error| text(&error))?;
        let leaving: Vec<&Socket> = self.sockets.leaving_after(&arrangement).chain(beside).collect();
        let health = wanted.filter(|_| !keeps_health).map(|wanted| listen::listen_beside(wanted, &leaving));
        let health = health.transpose().map_err(|error| text(&error))?;
        let present = self.observers.control_socket();
        // A file that was removed is made anew.
        let is_other = |path: &&PathBuf| !present.is_some_and(|present| present.is_at(path));
        let control = plan.control.as_ref().filter(is_other).map(|path| ControlSocket::open(path));
        let control = control.transpose().map_err(|error| text(&error))?;
        let is_other = |path: &&Path| !self.pid_file.as_ref().is_some_and(|present| present.is_at(path));
        let pid_file = plan.pid_file.as_deref().filter(is_other).map(create_pid_file);
        let pid_file = pid_file.transpose().map_err(|error| text(&error))?;
        let options =
            GenerationOptions { privileges: plan.privileges.clone(), cpus: plan.cpus.clone(), ..options };
        self.options.insert(generation, options);
        Ok(NextProgram { generation, plan, arrangement, health, control, pid_file })
    }
}
