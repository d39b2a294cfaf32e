//! The master's own exec into a new program, and how that one finds itself at home.
//!
//! What passes over: the listening sockets (that of health too) and the channels to the children, as
//! descriptors that stay open; the snapshot of the fleet and the secrets of its TLS, as text in a file
//! without a name. The process, and so its pid and its children, stay what they are. Signals wait until
//! the new program can take them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::observers::Observers;
use super::systemd::Service;
use super::{ChildEntry, Master, Plan};
use crate::error::{Error, chain};
use crate::listen::{self, Endpoint, Passed, Sharing, SocketSet};
use crate::supervisor::{ChildId, ChildSnapshot, SlotRole, Snapshot, Supervisor};
use crate::sys::{Inheritance, Program, Reactor};
use crate::tls::{TlsSecrets, TlsStore};

/// The first line of the text. A program that knows another version only does not take over.
const HEADING: &str = "prefork upgrade 1";

impl Master {
    /// Executes the newest program in this process. Returns only if that fails.
    pub(super) fn exec(&mut self) {
        let newest = self.supervisor.next_generation() - 1;
        let snapshot = self.supervisor.snapshot(Instant::now());
        let secrets = self.store.secrets(newest);
        let error = match self.programs.get(&newest) {
            Some(program) => self.try_exec(program, &snapshot, &secrets),
            None => io::Error::other("its program was lost, which is a bug in prefork"),
        };
        self.plan
            .logger
            .event("cannot_execute")
            .error(format_args!("cannot execute the new program: {error}"));
    }

    fn try_exec(&self, program: &Program, snapshot: &Snapshot, secrets: &str) -> io::Error {
        let mut text = format!("{HEADING}\nconditions{}\n", privileges(&self.plan));
        let mut channels = Vec::new();
        describe_sockets(&mut text, &self.sockets.passed());
        describe_fleet(&mut text, snapshot);
        describe_secrets(&mut text, secrets);
        for child in &snapshot.children {
            let channel = self.reactor.channel(child.id);
            describe_child(&mut text, child, channel.is_some());
            channels.extend(channel);
        }
        let mut listeners = self.sockets.all();
        // The last one, if there is one.
        if let Some((listener, addr)) = self.observers.health_listener().zip(self.plan.health.as_ref()) {
            let _ = writeln!(text, "health {addr}");
            listeners.push(listener);
        }
        let event = self.plan.logger.event("executing");
        event.info(format_args!("executing {} in place of this master", program.path().display()));
        program.exec(&text, &listeners, &channels)
    }

    /// Takes over from the program that this process ran before.
    pub(super) fn resume(plan: Plan, inheritance: Inheritance) -> Result<Self, Error> {
        let broken = |source| Error::Handshake { source };
        let os = |operation| move |source| Error::Os { operation, source };
        let Inheritance { text, mut listeners, channels } = inheritance;
        let last = parse(&text).map_err(broken)?;
        let health = last.health.as_ref().and_then(|_| listeners.pop());
        let secrets = TlsSecrets::from_text(&last.secrets);
        let store = TlsStore::inherit(plan.tls.clone(), last.fleet.generation, secrets)?;
        let (sockets, moved) = take_addresses(&plan, &last.sockets, listeners)?;
        let program = Program::current().map_err(os("find this program's own file"))?;
        let mut reactor = Reactor::new().map_err(os("receive signals"))?;
        let mut children = BTreeMap::new();
        let mut channels = channels.into_iter();
        for (child, has_channel) in &last.children {
            let channel = if *has_channel { channels.next() } else { None };
            reactor.adopt(child.id, child.pid, channel).map_err(broken)?;
            let dismissed = child.role == SlotRole::Leftover;
            let (slot, pid, ready) = (child.slot, child.pid, child.ready);
            let generation = child.generation;
            children.insert(child.id, ChildEntry { slot, pid, generation, here: true, ready, dismissed });
        }
        let snapshot =
            Snapshot { children: last.children.into_iter().map(|(child, _)| child).collect(), ..last.fleet };
        // The trial child was started by the last program, in that one's place and under its privileges.
        let everyone = moved || last.privileges.trim() != privileges(&plan).trim();
        let supervisor = Supervisor::resume(plan.settings, &snapshot, everyone, Instant::now());
        let programs = [(snapshot.generation, program)].into();
        let mut master = Self {
            observers: Observers::new(Service::after_upgrade(&plan.logger)),
            supervisor,
            plan,
            programs,
            store,
            reactor,
            sockets,
            children,
            last_failure: None,
            cause: None,
        };
        master.plan.logger.event("upgraded").generation(snapshot.generation).info(format_args!(
            "upgraded: this program is master now, of {}, on {}; master pid {}",
            super::messages::children(master.children.len()),
            master.sockets,
            std::process::id()
        ));
        master.resume_health(last.health.zip(health));
        for event in master.reactor.catch_up().map_err(os("wait for children"))? {
            master.note(event);
        }
        Ok(master)
    }
}

impl Master {
    /// Goes on answering questions of health where the last program did, or where this one is told
    /// to. The fleet does without if that cannot be: there is no way back to the old program.
    fn resume_health(&mut self, last: Option<(String, Socket)>) {
        let Some(wanted) = &self.plan.health else { return };
        let listener = match last {
            Some((addr, listener)) if addr == *wanted => Ok(listener),
            Some(_) | None => listen::listen_beside(wanted).map_err(|error| chain(&error).to_string()),
        };
        let started =
            listener.and_then(|listener| self.answer_health_on(listener).map_err(|error| error.to_string()));
        if let Err(error) = started {
            let event = self.plan.logger.event("cannot_tell_health");
            event.error(format_args!("{error}; nobody is told of the fleet's health"));
        }
    }
}

/// What the last program wrote.
#[derive(Debug, Default)]
struct Last {
    /// Without its children.
    fleet: Snapshot,
    /// And whether the channel to each is open.
    children: Vec<(ChildSnapshot, bool)>,
    /// Where it listened, in the order of the sockets.
    sockets: Vec<Passed>,
    /// Under what its children run.
    privileges: String,
    /// Where it answered questions of health, as its options said; that listener is the last one.
    health: Option<String>,
    /// As [`TlsStore::secrets`] has them.
    secrets: String,
}

fn privileges(plan: &Plan) -> String {
    format!("{} {:?}", plan.privileges.to_fields(), plan.cpus)
}

/// The sockets, as far as the options still name their addresses, and new ones for the others. If
/// those cannot be had the fleet stays where it is: there is no way back to the old program.
fn take_addresses(plan: &Plan, last: &[Passed], inherited: Vec<Socket>) -> Result<(SocketSet, bool), Error> {
    let broken = |source| Error::Handshake { source };
    let sockets = SocketSet::adopt(last, inherited, plan.sockets).map_err(broken)?;
    let workers = plan.settings.workers;
    // What the service manager opened stays in place of whatever the program says, unless it says names.
    let stays = sockets.are_activated() && !plan.endpoints.iter().any(Endpoint::is_activated);
    let rearranged = if stays {
        Ok(sockets)
    } else {
        sockets.rearranged(&plan.endpoints, plan.sharing, workers, plan.sockets)
    };
    let sockets = rearranged.unwrap_or_else(|(sockets, error)| {
        plan.logger.event("cannot_move").error(format_args!("{}; staying on {sockets}", chain(&error)));
        sockets
    });
    if let Err(error) = sockets.set_options() {
        plan.logger
            .event("cannot_set")
            .error(format_args!("{}; the sockets stay as they were", chain(&error)));
    }
    let endpoints = |all: &[Passed]| all.iter().map(|passed| passed.endpoint.clone()).collect::<Vec<_>>();
    let moved = endpoints(&sockets.passed()) != endpoints(last);
    Ok((sockets, moved))
}

// `write!` to a String cannot fail.
fn describe_sockets(text: &mut String, sockets: &[Passed]) {
    for Passed { endpoint, sharing, count } in sockets {
        let sharing = match sharing {
            Sharing::Shared => "shared",
            Sharing::Reuseport => "reuseport",
        };
        let _ = writeln!(text, "sockets {count} {sharing} {} {}", endpoint.network, endpoint.addr);
    }
}

fn describe_fleet(text: &mut String, snapshot: &Snapshot) {
    let Snapshot { workers, slots, generation, failures, failure_ages, children: _ } = snapshot;
    let _ = writeln!(text, "fleet {workers} {slots} {generation} {failures}");
    for age in failure_ages {
        let _ = writeln!(text, "failure {}", age.as_millis());
    }
}

fn describe_secrets(text: &mut String, secrets: &str) {
    for line in secrets.lines() {
        let _ = writeln!(text, "secret {line}");
    }
}

fn describe_child(text: &mut String, child: &ChildSnapshot, has_channel: bool) {
    let ChildSnapshot { id: ChildId(id), slot, generation, pid, role, ready } = child;
    let role = match role {
        SlotRole::Occupant => "occupant",
        SlotRole::Successor => "successor",
        SlotRole::Leftover => "leftover",
    };
    let _ = writeln!(text, "child {id} {slot} {generation} {pid} {role} {ready} {has_channel}");
}

fn parse(text: &str) -> io::Result<Last> {
    let bad = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("cannot take over: `{line}`"));
    let mut last = Last::default();
    let mut lines = text.lines();
    if lines.next() != Some(HEADING) {
        return Err(bad("a snapshot of another version"));
    }
    for line in lines {
        parse_line(line, &mut last).ok_or_else(|| bad(line))?;
    }
    Ok(last)
}

fn parse_line(line: &str, last: &mut Last) -> Option<()> {
    let (kind, rest) = line.split_once(' ')?;
    let mut words = rest.split(' ');
    match kind {
        "fleet" => {
            last.fleet.workers = words.next()?.parse().ok()?;
            last.fleet.slots = words.next()?.parse().ok()?;
            last.fleet.generation = words.next()?.parse().ok()?;
            last.fleet.failures = words.next()?.parse().ok()?;
        }
        "failure" => last.fleet.failure_ages.push(Duration::from_millis(rest.parse().ok()?)),
        "health" => last.health = Some(rest.to_owned()),
        "sockets" => last.sockets.push(parse_sockets(rest)?),
        "privileges" => rest.clone_into(&mut last.privileges),
        "secret" => last.secrets.extend([rest, "\n"]),
        "child" => {
            let child = ChildSnapshot {
                id: ChildId(words.next()?.parse().ok()?),
                slot: words.next()?.parse().ok()?,
                generation: words.next()?.parse().ok()?,
                pid: words.next()?.parse().ok()?,
                role: match words.next()? {
                    "occupant" => SlotRole::Occupant,
                    "successor" => SlotRole::Successor,
                    "leftover" => SlotRole::Leftover,
                    _ => return None,
                },
                ready: words.next()?.parse().ok()?,
            };
            last.children.push((child, words.next()?.parse().ok()?));
        }
        // Of a newer version that an older one can do without.
        _ => {}
    }
    Some(())
}

/// Reads `count sharing network address`; the address comes last because it may hold blanks.
fn parse_sockets(text: &str) -> Option<Passed> {
    let mut words = text.splitn(4, ' ');
    let count = words.next()?.parse().ok()?;
    let sharing = match words.next()? {
        "shared" => Sharing::Shared,
        "reuseport" => Sharing::Reuseport,
        _ => return None,
    };
    let network = words.next()?.parse().ok()?;
    Some(Passed { endpoint: Endpoint { addr: words.next()?.to_owned(), network }, sharing, count })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Network;

    #[test]
    fn a_snapshot_survives_the_exec() {
        let child = |id, role, ready| ChildSnapshot {
            id: ChildId(id),
            slot: 1,
            generation: 2,
            pid: 4711,
            role,
            ready,
        };
        let snapshot = Snapshot {
            workers: 4,
            slots: 5,
            generation: 3,
            failures: 2,
            failure_ages: vec![Duration::from_millis(17), Duration::from_secs(40)],
            children: vec![
                child(3, SlotRole::Occupant, true),
                child(8, SlotRole::Successor, false),
                child(9, SlotRole::Leftover, false),
            ],
        };
        let at = |addr: &str, network| Endpoint { addr: addr.to_owned(), network };
        let sockets = [
            Passed { endpoint: at(":80", Network::Tcp4), sharing: Sharing::Reuseport, count: 4 },
            Passed { endpoint: at("unix:/run/an app", Network::Unix), sharing: Sharing::Shared, count: 1 },
        ];
        let mut text = format!("{HEADING}\nsome news\n");
        describe_sockets(&mut text, &sockets);
        describe_fleet(&mut text, &snapshot);
        describe_secrets(&mut text, "file 61 62\ntickets 7 00\n");
        for (child, has_channel) in snapshot.children.iter().zip([true, false, true]) {
            describe_child(&mut text, child, has_channel);
        }
        let last = parse(&text).unwrap();
        assert_eq!(last.sockets, sockets);
        assert_eq!(last.secrets, "file 61 62\ntickets 7 00\n");
        assert!(last.children.iter().map(|(_, has_channel)| *has_channel).eq([true, false, true]));
        let children = last.children.into_iter().map(|(child, _)| child).collect();
        assert_eq!(Snapshot { children, ..last.fleet }, snapshot);
    }

    #[test]
    fn a_strange_snapshot_is_refused() {
        assert!(parse("prefork upgrade 0\n").is_err());
        assert!(parse(&format!("{HEADING}\nchild 1 x")).is_err());
        assert!(parse("").is_err());
    }
}
