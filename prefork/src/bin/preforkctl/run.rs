//! From the command line to the exit status.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{CommandFactory, Parser};

use crate::arguments::{Arguments, Canary, Command, Count};
use crate::check;
use crate::client::{Answer, Client};
use crate::failure::Failure;
use crate::manual;
use crate::operation;
use crate::shown;
use crate::status::Status;
use crate::top;
use crate::wait;

/// See the [module](self).
pub(crate) fn run() -> ExitCode {
    match perform(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If it cannot be written, the exit status tells.
            let _ = writeln!(io::stderr(), "preforkctl: {failure}");
            failure.exit_code()
        }
    }
}

fn perform(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { socket, json, command } = arguments;
    let client = || {
        let socket = socket.clone().or_else(|| socket_of(env::var_os("PREFORK_CONTROL")));
        let no_socket = "which fleet? Name its control socket: --socket PATH, or PREFORK_CONTROL";
        socket.map(Client::new).ok_or_else(|| Failure::Usage(no_socket.to_owned()))
    };
    let operate = |path: String| operation::run(&client()?, &path, json);
    match command {
        Command::Status if json => {
            let text = body(client()?.get("/status")?)?;
            read_status(&text)?;
            written(shown::pass_on(&text))
        }
        Command::Status => print(&status(&client()?)?.text(SystemTime::now())),
        Command::Reload(canary) if canary.wait => wait::reload(&client()?, &reload_path(&canary), json),
        Command::Reload(canary) => operate(reload_path(&canary)),
        Command::Promote => operate("/promote".to_owned()),
        Command::Rollback => operate("/rollback".to_owned()),
        Command::Upgrade => operate("/upgrade".to_owned()),
        Command::Scale { count } => operate(scale_path(count)),
        Command::Recycle { slot } => operate(format!("/recycle?slot={slot}")),
        Command::Reopen => operate("/reopen".to_owned()),
        Command::Stop { now } => operate(if now { "/stop?now=1" } else { "/stop" }.to_owned()),
        Command::Top { interval } => top::run(&client()?, Duration::from_secs_f64(interval)),
        Command::Metrics => {
            let text = body(client()?.get("/metrics")?)?;
            if !text.contains("\nprefork_") {
                return Err(not_a_fleet("/metrics"));
            }
            written(shown::pass_on(&text))
        }
        Command::Events => follow_events(&client()?),
        Command::Check { program } => Err(check::run(&program)),
        Command::Completions { shell } => {
            // It panics if it cannot write.
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "preforkctl", &mut text);
            written(io::stdout().write_all(&text))
        }
        Command::Manual { directory: None } => manual::print(),
        Command::Manual { directory: Some(directory) } => manual::write(&directory),
    }
}

/// The path in a variable. An empty one is as none, as for every option of the fleet.
fn socket_of(variable: Option<OsString>) -> Option<PathBuf> {
    variable.filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn reload_path(Canary { canary, hold, .. }: &Canary) -> String {
    let canary = canary.map(|count| format!("canary={count}"));
    let hold = hold.as_ref().map(|hold| format!("hold={}", encoded(hold)));
    let parameters: Vec<String> = canary.into_iter().chain(hold).collect();
    if parameters.is_empty() { "/reload".to_owned() } else { format!("/reload?{}", parameters.join("&")) }
}

fn scale_path(count: Count) -> String {
    match count {
        Count::To(count) => format!("/workers?count={count}"),
        Count::More(count) => format!("/workers?by={count}"),
        Count::Fewer(count) => format!("/workers?by=-{count}"),
    }
}

/// The text, so that it cannot end the request or the parameter.
fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

pub(crate) fn status(client: &Client) -> Result<Status, Failure> {
    read_status(&body(client.get("/status")?)?)
}

fn read_status(text: &str) -> Result<Status, Failure> {
    serde_json::from_str(text).map_err(|_| not_a_fleet("/status"))
}

/// The answer is another program's.
fn not_a_fleet(path: &str) -> Failure {
    Failure::NotDone(format!(
        "the answer to {path} is none of a fleet's: is this the socket of the option `control`?"
    ))
}

/// What was asked for, and not why it was refused.
fn body(answer: Answer) -> Result<String, Failure> {
    let status = answer.status;
    let text = answer.text()?;
    match status {
        200 => Ok(text),
        _ => Err(Failure::NotDone(format!("the fleet has answered {status}: {}", text.trim_end()))),
    }
}

/// Until the fleet or the reader has gone.
fn follow_events(client: &Client) -> Result<(), Failure> {
    let answer = client.follow("/events")?;
    if answer.status != 200 {
        return body(answer).and_then(|text| written(shown::pass_on(&text)));
    }
    for line in answer.lines() {
        let line = line?;
        if !line.starts_with("{\"time\":") {
            return Err(not_a_fleet("/events"));
        }
        match shown::pass_on(&(line + "\n")) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => self::written(written)?,
        }
    }
    Ok(())
}

fn print(text: &str) -> Result<(), Failure> {
    written(io::stdout().write_all(text.as_bytes()))
}

fn written(result: io::Result<()>) -> Result<(), Failure> {
    result.map_err(|error| Failure::NotDone(format!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variable_names_no_socket() {
        let socket = |text: &str| socket_of(Some(text.into()));
        assert_eq!(socket(""), None);
        assert_eq!(socket("/run/a"), Some(PathBuf::from("/run/a")));
        assert_eq!(socket_of(None), None);
    }

    #[test]
    fn reload_passes_its_canary() {
        let path = |canary, hold: Option<&str>| {
            reload_path(&Canary { canary, hold: hold.map(str::to_owned), wait: false })
        };
        assert_eq!(path(None, None), "/reload");
        assert_eq!(path(Some(2), None), "/reload?canary=2");
        assert_eq!(path(Some(1), Some("1m 30s")), "/reload?canary=1&hold=1m%2030s");
        assert_eq!(path(None, Some("1&a=b\r\n")), "/reload?hold=1%26a%3Db%0D%0A");
    }

    #[test]
    fn difference_is_left_to_the_fleet() {
        let paths = [Count::To(8), Count::More(2), Count::Fewer(1)].map(scale_path);
        assert_eq!(paths, ["/workers?count=8", "/workers?by=2", "/workers?by=-1"]);
    }
}
