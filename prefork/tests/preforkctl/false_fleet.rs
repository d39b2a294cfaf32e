//! A socket that is no fleet's: what it sends, a terminal does not obey.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use super::terminal::Terminal;
use super::{command, outcome, wait_for};

/// Sets the title of a terminal.
const TITLE: &str = "\u{1b}]0;title\u{7}";

/// Answers every request with this body.
pub(super) fn start(directory: &tempfile::TempDir, status: u16, body: String) -> PathBuf {
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = BufReader::new(&stream).lines();
            request.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            // The command may have ended.
            let _ = write!(stream, "HTTP/1.0 {status} Answer\r\n\r\n{body}");
        }
    });
    path
}

/// What the command writes to a terminal.
fn shown(socket: &std::path::Path, arguments: &[&str], expected: &str) -> String {
    let mut terminal = Terminal::start(command(socket, arguments));
    let mut bytes = Vec::new();
    wait_for(expected, || {
        bytes.extend(terminal.output.try_iter().flatten());
        String::from_utf8_lossy(&bytes).contains(expected)
    });
    terminal.process.wait().unwrap();
    bytes.extend(terminal.output.try_iter().flatten());
    String::from_utf8(bytes).unwrap()
}

#[test]
fn control_characters_are_escaped_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let text = serde_json::to_string(TITLE).unwrap();
    let status = format!(
        r#"{{"state":{text},"master":1,"generation":0,"slots":1,"ready":1,"operation":{{"name":{text}}},
        "listeners":[],"children":[{{"slot":0,"pid":2,"generation":0,"state":{text}}}],
        "result":"done","message":{text},"log":[{text}]}}"#
    )
    .replace('\n', "");
    let socket = start(&directory, 200, format!("{status}\n"));
    for arguments in [["status"], ["reload"]] {
        let (code, out, err) = outcome(&mut command(&socket, &arguments));
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains(r"\u{1b}]0;title\u{7}"), "{out}");
        assert!(!format!("{out}{err}").replace('\n', "").contains(char::is_control), "{out:?} {err:?}");
    }
    let (code, out, _) = outcome(&mut command(&socket, &["reload", "--json"]));
    assert_eq!((code, out.trim_end()), (0, status.as_str()));
}

#[test]
fn refusal_is_escaped_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let socket = start(&directory, 500, format!("{TITLE}\nno"));
    for arguments in [["status"], ["promote"], ["metrics"]] {
        let (code, out, err) = outcome(&mut command(&socket, &arguments));
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.ends_with("\\u{1b}]0;title\\u{7}\\nno\n") && err.lines().count() == 1, "{err}");
    }
}

#[test]
fn what_is_passed_on_is_escaped_on_a_terminal_only() {
    let events = "{\"time\":1.5,\"message\":\"";
    for (arguments, beginning) in [(["metrics"], "# HELP\nprefork_generation 1\n"), (["events"], events)] {
        let directory = tempfile::tempdir().unwrap();
        let socket = start(&directory, 200, format!("{beginning}{TITLE}a\tb\n"));
        let (_, out, _) = outcome(&mut command(&socket, &arguments));
        assert_eq!(out, format!("{beginning}{TITLE}a\tb\n"));
        let shown = shown(&socket, &arguments, "a\tb\r\n");
        assert_eq!(shown, format!("{beginning}\\u{{1b}}]0;title\\u{{7}}a\tb\n").replace('\n', "\r\n"));
    }
}

#[test]
fn answer_of_another_program_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let socket = start(&directory, 200, "<html>\n".to_owned());
    for arguments in [["metrics"].as_slice(), &["events"], &["status"], &["status", "--json"]] {
        let (code, out, err) = outcome(&mut command(&socket, arguments));
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains("is none of a fleet's"), "{err}");
    }
    let (code, _, err) = outcome(&mut command(directory.path(), &["status"]));
    assert!(code == 3 && err.contains("is no socket"), "{err}");
}
