//! gunicorn with threads, uvicorn and granian, each with an application that does nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Abilities, Contender, Setup};
use crate::linux::BenchResult;
use crate::linux::machine::{find, first_line};

const WSGI: &str = r#"
import os

SMALL, LARGE = b"x" * 1024, b"x" * 102400

def app(environ, start_response):
    path = environ["PATH_INFO"]
    body = LARGE if path == "/100k" else str(os.getpid()).encode() if path == "/pid" else SMALL
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"#;

const ASGI: &str = r#"
import os

SMALL, LARGE = b"x" * 1024, b"x" * 102400

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    body = LARGE if path == "/100k" else str(os.getpid()).encode() if path == "/pid" else SMALL
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"#;

const ABILITIES: Abilities = Abilities {
    tells: false,
    has_workers: true,
    tls: true,
    many_connections: true,
    reload: Some(Signal::SIGHUP),
    upgrade: None,
    stop: Some(Signal::SIGTERM),
};

pub(super) fn gunicorn() -> BenchResult<Vec<Contender>> {
    let arguments = |setup: &Setup<'_>| {
        let mut arguments = words("--worker-class gthread --threads 32 --keep-alive 3600 --log-level error");
        arguments.extend(["--bind".to_owned(), setup.addr.to_string()]);
        arguments.extend(["--workers".to_owned(), setup.size.workers.to_string()]);
        arguments.extend(tls(setup, "--certfile", "--keyfile"));
        arguments
    };
    // A worker keeps 1,000 connections.
    peer("gunicorn", Abilities { many_connections: false, ..ABILITIES }, WSGI, arguments)
}

pub(super) fn uvicorn() -> BenchResult<Vec<Contender>> {
    let arguments = |setup: &Setup<'_>| {
        let mut arguments = words("--log-level error --no-access-log --timeout-keep-alive 3600");
        arguments.extend(place(setup));
        arguments.extend(tls(setup, "--ssl-certfile", "--ssl-keyfile"));
        arguments
    };
    peer("uvicorn", ABILITIES, ASGI, arguments)
}

pub(super) fn granian() -> BenchResult<Vec<Contender>> {
    let arguments = |setup: &Setup<'_>| {
        let mut arguments =
            words("--interface asgi --log-level error --no-access-log --respawn-failed-workers");
        let connections = setup.size.connections.to_string();
        arguments.extend(["--backlog", "1024", "--backpressure", &connections].map(str::to_owned));
        arguments.extend(place(setup));
        arguments.extend(tls(setup, "--ssl-certificate", "--ssl-keyfile"));
        arguments
    };
    peer("granian", ABILITIES, ASGI, arguments)
}

fn peer(
    name: &'static str,
    abilities: Abilities,
    application: &'static str,
    arguments: impl Fn(&Setup<'_>) -> Vec<String> + 'static,
) -> BenchResult<Vec<Contender>> {
    let program = find(name).ok_or_else(|| format!("{name}: not installed (PyPI or Debian: {name})"))?;
    let told = first_line(&program.display().to_string(), &["--version"]);
    let number = told.split([' ', ')']).find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let version = number.unwrap_or(&told).to_owned();
    let command = move |setup: &Setup<'_>| {
        write_application(setup.directory, application)?;
        let mut command = Command::new(&program);
        command.current_dir(setup.directory).args(arguments(setup)).arg("bench_app:app");
        Ok(command)
    };
    Ok(vec![Contender { name, version, abilities, command: Box::new(command) }])
}

fn write_application(directory: &Path, text: &str) -> BenchResult<()> {
    Ok(fs::write(directory.join("bench_app.py"), text)?)
}

fn place(setup: &Setup<'_>) -> Vec<String> {
    let (host, port) = (setup.addr.ip().to_string(), setup.addr.port().to_string());
    ["--host", &host, "--port", &port, "--workers", &setup.size.workers.to_string()]
        .map(str::to_owned)
        .to_vec()
}

fn tls(setup: &Setup<'_>, cert: &str, key: &str) -> Vec<String> {
    if !setup.size.tls {
        return Vec::new();
    }
    let (cert_path, key_path) =
        (setup.files.cert().display().to_string(), setup.files.key().display().to_string());
    vec![cert.to_owned(), cert_path, key.to_owned(), key_path]
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
