//! The program's own hyper server: forked and spawned by hand, as threads, and with prefork.

use std::process::Command;

use nix::sys::signal::Signal;

use super::{Abilities, Contender, FAIR, FLOOR, PRELOAD, REUSEPORT, SHARED, SPAWNED};
use crate::linux::server::ROLE;

const BY_HAND: Abilities = Abilities {
    tells: true,
    has_workers: true,
    tls: true,
    many_connections: true,
    reload: None,
    upgrade: None,
    stop: None,
};

const FLEET: Abilities = Abilities {
    reload: Some(Signal::SIGHUP),
    upgrade: Some(Signal::SIGUSR2),
    stop: Some(Signal::SIGTERM),
    ..BY_HAND
};

pub(super) fn all() -> Vec<Contender> {
    vec![
        contender(FLOOR, "forked", BY_HAND),
        contender("hyper, forked by hand, shared socket", "forked-shared", BY_HAND),
        contender(SPAWNED, "spawned", BY_HAND),
        contender("hyper, one process with threads", "threads", Abilities { has_workers: false, ..BY_HAND }),
        contender(REUSEPORT, "prefork-reuseport", FLEET),
        contender(SHARED, "prefork-shared", FLEET),
        contender(FAIR, "prefork-fair", Abilities { tls: false, ..FLEET }),
        contender(PRELOAD, "prefork-preload", Abilities { tls: false, ..FLEET }),
    ]
}

fn contender(name: &'static str, arrangement: &'static str, abilities: Abilities) -> Contender {
    let command = move |setup: &super::Setup<'_>| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([ROLE, arrangement, &setup.addr.to_string(), &setup.size.workers.to_string()]);
        if setup.size.tls {
            command.args([setup.files.cert(), setup.files.key()]);
        }
        Ok(command)
    };
    let hyper = locked_version("hyper");
    let version = match name.strip_prefix("prefork") {
        Some(_) => format!("{}, with hyper {hyper}", env!("CARGO_PKG_VERSION")),
        None => hyper.to_owned(),
    };
    Contender { name, version, abilities, command: Box::new(command) }
}

/// The version of a crate in the lock file that this program was built with.
fn locked_version(name: &str) -> &'static str {
    let lock = include_str!("../../../../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown")
}
