//! The master's own view of its fleet, from its health endpoint.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use std::io::{Read, Write};
use std::net::TcpStream;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: String,
    pub(crate) slots: usize,
    pub(crate) ready: usize,
    pub(crate) children: BTreeSet<u32>,
    /// Those of the children: two after a reload that was aborted.
    pub(crate) generations: BTreeSet<u32>,
    pub(crate) templates: BTreeSet<u32>,
    /// Whether each template can fork a child.
    pub(crate) can_fork: bool,
}

/// The status; `None` if the master does not answer.
pub(crate) fn ask(addr: SocketAddr) -> Option<Status> {
    // Each takes a turn of the master's loop: what was asked of it before is done, or under way.
    get(addr, "/livez")?;
    get(addr, "/livez")?;
    parse(get(addr, "/status")?.split_once("\r\n\r\n")?.1)
}

fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&addr, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn parse(json: &str) -> Option<Status> {
    let text = |name: &str| {
        let (_, rest) = json.split_once(&format!("\"{name}\":"))?;
        Some(rest.split([',', '}']).next()?.trim_matches('"').to_owned())
    };
    let numbers = |part: &str, name: &str| {
        let field = format!("\"{name}\":");
        let values = part.split(&field).skip(1);
        values.filter_map(|rest| rest.split([',', '}']).next()?.parse().ok()).collect::<BTreeSet<u32>>()
    };
    let (children, templates) = json.split_once("\"children\":")?.1.split_once("\"templates\":")?;
    let mut states = templates.split("\"state\":").skip(1);
    Some(Status {
        state: text("state")?,
        slots: text("slots")?.parse().ok()?,
        ready: text("ready")?.parse().ok()?,
        children: numbers(children, "pid"),
        generations: numbers(children, "generation"),
        templates: numbers(templates, "pid"),
        can_fork: states.all(|state| state.starts_with("\"ready\"")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read() {
        let json = r#"{"state":"serving","master":7,"generation":3,"slots":2,"ready":1,"failures":0,"children":[{"slot":0,"pid":8,"generation":3,"state":"ready"},{"slot":1,"pid":9,"generation":3,"state":"starting"}],"waiting":[],"templates":[{"generation":3,"pid":10,"state":"ready","age_seconds":1}]}"#;
        let status = Status {
            state: "serving".to_owned(),
            slots: 2,
            ready: 1,
            children: BTreeSet::from([8, 9]),
            generations: BTreeSet::from([3]),
            templates: BTreeSet::from([10]),
            can_fork: true,
        };
        assert_eq!(parse(json), Some(status));
        let waiting = json.replace(r#""pid":10,"state":"ready""#, r#""pid":null,"state":"waiting""#);
        assert!(parse(&waiting).is_some_and(|status| status.templates.is_empty() && !status.can_fork));
        assert_eq!(parse("{}"), None);
    }
}
