//! HTTP over the control socket: one request for each connection.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::Failure;

/// More than the head of any answer.
const HEAD_LIMIT: u64 = 16 * 1024;
const FIELD_LIMIT: usize = 32;
/// More than any answer that is no stream has.
const BODY_LIMIT: u64 = 64 * 1024 * 1024;
/// More than any line of a stream has.
const LINE_LIMIT: u64 = 1024 * 1024;
/// How long the fleet may take for something that it has at hand.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// An answer, whose body is still to be read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: BufReader<UnixStream>,
    length: Option<u64>,
}

impl Client {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Reads something that the fleet has at hand.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send("GET", path, "*/*", Some(READ_LIMIT))
    }

    /// Reads what has no end.
    pub(crate) fn follow(&self, path: &str) -> Result<Answer, Failure> {
        self.send("GET", path, "*/*", None)
    }

    /// Asks for a change. The answer to `accept` of JSON lines has its progress.
    pub(crate) fn post(&self, path: &str, accept: &str) -> Result<Answer, Failure> {
        self.send("POST", path, accept, None)
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        limit: Option<Duration>,
    ) -> Result<Answer, Failure> {
        let connected = UnixStream::connect(&self.socket);
        let mut stream = connected.map_err(|error| not_reached(&self.socket, &error))?;
        stream.set_read_timeout(limit).map_err(|error| cut(&error))?;
        // In HTTP/1.0 the end of the connection is the end of an answer whose length is not known before.
        let request = format!("{method} {path} HTTP/1.0\r\nAccept: {accept}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).map_err(|error| cut(&error))?;
        Answer::read(stream).map_err(|error| cut(&error))
    }
}

impl Answer {
    fn read(stream: UnixStream) -> io::Result<Self> {
        let mut body = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if body.by_ref().take(HEAD_LIMIT).read_until(b'\n', &mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if head.len() as u64 > HEAD_LIMIT {
                return Err(io::Error::new(ErrorKind::InvalidData, "the head of the answer is too long"));
            }
        }
        let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
        let mut answer = httparse::Response::new(&mut fields);
        answer.parse(&head).map_err(|error| io::Error::new(ErrorKind::InvalidData, error.to_string()))?;
        let status = answer.code.unwrap_or_default();
        let mut fields = answer.headers.iter();
        let length = fields.find(|field| field.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
        Ok(Self { status, body, length })
    }

    /// The whole body.
    pub(crate) fn text(self) -> Result<String, Failure> {
        let mut text = String::new();
        let mut body = self.body.take(self.length.unwrap_or(BODY_LIMIT + 1).min(BODY_LIMIT + 1));
        body.read_to_string(&mut text).map_err(|error| cut(&error))?;
        match self.length {
            _ if text.len() as u64 > BODY_LIMIT => Err(cut(&too_long("the answer"))),
            Some(length) if length != text.len() as u64 => Err(cut(&ErrorKind::UnexpectedEof.into())),
            _ => Ok(text),
        }
    }

    /// The lines of the body, as they come. An error is the last.
    pub(crate) fn lines(self) -> impl Iterator<Item = Result<String, Failure>> {
        let mut body = self.body.take(0);
        let mut left = self.length.unwrap_or(u64::MAX);
        std::iter::from_fn(move || {
            body.set_limit(left.min(LINE_LIMIT));
            let mut line = String::new();
            let read = match body.read_line(&mut line) {
                Ok(length) if length as u64 == LINE_LIMIT => Err(too_long("a line of the answer")),
                read => read,
            };
            match read {
                Ok(0) => None,
                Ok(length) => {
                    left = left.saturating_sub(length as u64);
                    Some(Ok(line.trim_end_matches(['\r', '\n']).to_owned()))
                }
                Err(error) => {
                    left = 0;
                    Some(Err(cut(&error)))
                }
            }
        })
    }
}

fn too_long(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{what} is too long for one of a fleet"))
}

fn not_reached(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    Failure::NoFleet(match error.kind() {
        ErrorKind::NotFound => {
            format!("there is no socket {path}: is the fleet running, with control = \"{path}\"?")
        }
        ErrorKind::ConnectionRefused if !is_socket(socket) => format!("{path} is no socket"),
        ErrorKind::ConnectionRefused => format!("no fleet listens on {path}: it has ended"),
        ErrorKind::PermissionDenied => {
            format!("cannot connect to {path}: permission denied; the fleet answers its own user and root")
        }
        _ => format!("cannot connect to {path}: {error}"),
    })
}

fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

fn cut(error: &io::Error) -> Failure {
    Failure::NoFleet(match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            "the fleet has closed the connection before it answered; its log says what became of it"
                .to_owned()
        }
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            "the fleet does not answer: its master is busy or stopped".to_owned()
        }
        _ => format!("cannot read the fleet's answer: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;

    fn answer(text: &'static str) -> io::Result<Answer> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || theirs.write_all(text.as_bytes()));
        Answer::read(ours)
    }

    #[test]
    fn answer_has_its_status_and_its_body() {
        let whole = answer("HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\n\r\nhello and more").unwrap();
        assert_eq!((whole.status, whole.text().unwrap().as_str()), (409, "hello"));
        let open = answer("HTTP/1.0 200 OK\r\n\r\na\nb\n").unwrap();
        let lines: Vec<_> = open.lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn line_without_end_is_an_error() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            theirs.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            while theirs.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let lines: Vec<_> = Answer::read(ours).unwrap().lines().collect();
        assert!(
            matches!(&lines[..], [Err(Failure::NoFleet(problem))] if problem.contains("too long")),
            "{lines:?}"
        );
    }

    #[test]
    fn answer_that_is_cut_is_no_answer() {
        for head in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
            assert_eq!(answer(head).unwrap_err().kind(), ErrorKind::UnexpectedEof, "{head:?}");
        }
        let short = answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello").unwrap();
        assert!(matches!(short.text(), Err(Failure::NoFleet(_))));
        assert_eq!(answer("garbage\r\n\r\n").unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
