//! nginx, with a shared socket and with reuseport.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Abilities, Contender, Setup};
use crate::linux::BenchResult;
use crate::linux::machine::{find, first_line};

const ABILITIES: Abilities = Abilities {
    tells: false,
    has_workers: true,
    tls: true,
    many_connections: true,
    reload: Some(Signal::SIGHUP),
    // Its upgrade takes three signals to two masters.
    upgrade: None,
    stop: Some(Signal::SIGQUIT),
};

pub(super) fn all() -> BenchResult<Vec<Contender>> {
    let program = find("nginx").ok_or("nginx: not installed (Debian: nginx-light)")?;
    let told = first_line(&program.display().to_string(), &["-v"]);
    let version = told.rsplit('/').next().unwrap_or_default().to_owned();
    let contender = |name, reuseport: &'static str| {
        let program = program.clone();
        Contender {
            name,
            version: version.clone(),
            abilities: ABILITIES,
            command: Box::new(move |setup| command(&program, setup, reuseport)),
        }
    };
    Ok(vec![contender("nginx, reuseport", "reuseport"), contender("nginx, shared socket", "")])
}

fn command(program: &PathBuf, setup: &Setup<'_>, reuseport: &str) -> BenchResult<Command> {
    let directory = setup.directory;
    fs::write(directory.join("100k"), vec![b'x'; 100 * 1024])?;
    let path = directory.join("nginx.conf");
    fs::write(&path, configuration(setup, directory, reuseport))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(directory).arg("-c").arg(path).arg("-e").arg(directory.join("error.log"));
    Ok(command)
}

/// Without what the others do not do either: no log of requests, no limit of requests per connection.
fn configuration(setup: &Setup<'_>, directory: &Path, reuseport: &str) -> String {
    let (addr, workers, directory) = (setup.addr, setup.size.workers, directory.display());
    let (ssl, certificate) = if setup.size.tls {
        let (cert, key) = (setup.files.cert(), setup.files.key());
        let session = "ssl_session_cache off; ssl_session_tickets off; ssl_protocols TLSv1.3;";
        (
            " ssl",
            format!("ssl_certificate {}; ssl_certificate_key {}; {session}", cert.display(), key.display()),
        )
    } else {
        ("", String::new())
    };
    let connections = setup.size.connections;
    let body = "x".repeat(1024);
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    format!(
        "daemon off; {user} worker_processes {workers}; pid {directory}/nginx.pid; error_log {directory}/error.log;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n\
         access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; sendfile on; tcp_nopush on;\n\
         open_file_cache max=10; default_type text/plain;\n\
         client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;\n\
         uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;\n\
         server {{ listen {addr} backlog=1024 {reuseport}{ssl}; {certificate} root {directory};\n\
         location = /1k {{ return 200 {body}; }}\n\
         location = /pid {{ return 200 $pid; }}\n\
         }} }}\n"
    )
}
