//! Requests and answers of HTTP/1.

use std::sync::Arc;

use crate::sys::Peer;

/// Lines of JSON.
pub(in crate::master) const LINES: &str = "application/x-ndjson";

/// The largest head of a request, in bytes: what browsers and proxies send with many cookies fits.
pub(super) const HEAD_LIMIT: usize = 8192;
/// The largest number of header fields. More are refused like a head that is too large.
const FIELD_LIMIT: usize = 128;

/// The head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::master) struct HttpRequest<'a> {
    pub(in crate::master) method: &'a str,
    /// Without the query.
    pub(in crate::master) path: &'a str,
    pub(in crate::master) query: &'a str,
    /// Whether the client takes an answer in lines of JSON.
    pub(in crate::master) takes_lines: bool,
    /// Who has sent it, where the system tells.
    pub(in crate::master) peer: Option<Peer>,
    /// Whether a body follows. It is not read.
    pub(in crate::master) has_body: bool,
    /// The size of the head, in bytes.
    pub(super) size: usize,
    /// Whether another request may follow on the connection.
    pub(super) keeps_alive: bool,
    /// Whether the answer may be in chunks.
    pub(super) has_chunks: bool,
}

impl<'a> HttpRequest<'a> {
    /// Reads the head of a request from the start of `bytes`; `None` while it is incomplete. The error is the
    /// answer to a malformed request, after which the connection is closed.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, Answer> {
        let mut fields = [httparse::EMPTY_HEADER; FIELD_LIMIT];
        let mut request = httparse::Request::new(&mut fields);
        let size = match request.parse(bytes) {
            Ok(httparse::Status::Complete(size)) => size,
            Ok(httparse::Status::Partial) if bytes.len() < HEAD_LIMIT => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Err(Answer::text(431, "request head exceeds 8 KiB or 128 fields\n"));
            }
            Err(error) => return Err(Answer::text(400, &format!("bad request: {error}\n"))),
        };
        let (has_chunks, has_body) = (request.version == Some(1), has_body(&request));
        let (path, query) = path_and_query(request.path.unwrap_or_default());
        Ok(Some(Self {
            method: request.method.unwrap_or_default(),
            path,
            query,
            takes_lines: takes_lines(&request),
            peer: None,
            has_body,
            size,
            keeps_alive: has_chunks && !has_body && !says_close(&request),
            has_chunks,
        }))
    }
}

/// The path and the query of a request's target. A client may send the whole URL, as to a proxy (RFC 9112, 3.2.2).
fn path_and_query(target: &str) -> (&str, &str) {
    let (target, query) = target.split_once('?').unwrap_or((target, ""));
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    (path, query)
}

/// Whether the client names [`LINES`] among what it accepts.
fn takes_lines(request: &httparse::Request<'_, '_>) -> bool {
    let names = |value: &[u8]| {
        let kinds = value.split(|byte| *byte == b',');
        let mut kinds = kinds.filter_map(|kind| kind.split(|byte| *byte == b';').next());
        kinds.any(|kind| kind.trim_ascii().eq_ignore_ascii_case(LINES.as_bytes()))
    };
    request.headers.iter().any(|field| field.name.eq_ignore_ascii_case("accept") && names(field.value))
}

/// The head of an answer in parts, after which the connection is closed.
pub(super) fn stream_head(kind: &str, chunked: bool) -> String {
    let encoding = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{encoding}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
}

/// Bodies are not read: the connection is closed after the answer.
fn has_body(request: &httparse::Request<'_, '_>) -> bool {
    let has = |field: &httparse::Header<'_>| {
        field.name.eq_ignore_ascii_case("transfer-encoding")
            || (field.name.eq_ignore_ascii_case("content-length") && field.value != b"0")
    };
    request.headers.iter().any(has)
}

fn says_close(request: &httparse::Request<'_, '_>) -> bool {
    let mut options = request
        .headers
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("connection"))
        .flat_map(|field| field.value.split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::master) struct Answer {
    code: u16,
    kind: &'static str,
    /// Clients can share a large one.
    body: Arc<str>,
    /// Further fields of the head.
    fields: Vec<(&'static str, String)>,
}

impl Answer {
    pub(in crate::master) fn text(code: u16, body: &str) -> Self {
        Self::new(code, "text/plain; charset=utf-8", body.into())
    }

    pub(in crate::master) fn json(code: u16, body: String) -> Self {
        Self::new(code, "application/json", body.into())
    }

    /// Refuses a method.
    pub(in crate::master) fn only(allowed: &'static str, body: &str) -> Self {
        Self { fields: vec![("Allow", allowed.to_owned())], ..Self::text(405, body) }
    }

    fn new(code: u16, kind: &'static str, body: Arc<str>) -> Self {
        Self { code, kind, body, fields: Vec::new() }
    }

    /// A page that may do what `policy` allows.
    pub(in crate::master) fn page(html: String, policy: String) -> Self {
        let fields = vec![
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("Referrer-Policy", "no-referrer".to_owned()),
        ];
        Self { fields, ..Self::new(200, "text/html; charset=utf-8", html.into()) }
    }

    /// Metrics in the Prometheus text format.
    pub(in crate::master) fn metrics(body: Arc<str>) -> Self {
        Self::new(200, "text/plain; version=0.0.4; charset=utf-8", body)
    }

    pub(in crate::master) fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// What precedes the body. Without `keeps_alive` it says that the connection is closed.
    pub(in crate::master) fn head(&self, keeps_alive: bool) -> String {
        let Self { code, kind, body, fields } = self;
        let reason = match code {
            200 => "OK",
            400 => "Bad Request",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            422 => "Unprocessable Content",
            500 => "Internal Server Error",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut text = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n",
            body.len()
        );
        for (name, value) in fields {
            text += &format!("{name}: {value}\r\n");
        }
        if !keeps_alive {
            text += "Connection: close\r\n";
        }
        text += "\r\n";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The status that the head is refused with.
    fn refusal(head: &[u8]) -> u16 {
        HttpRequest::parse(head).unwrap_err().code
    }

    #[test]
    fn request_is_method_and_path() {
        let head = b"GET /readyz?verbose HTTP/1.1\r\nHost: a\r\nCookie: b=\xff\r\n\r\nbody";
        let request = HttpRequest {
            method: "GET",
            path: "/readyz",
            query: "verbose",
            takes_lines: false,
            peer: None,
            has_body: false,
            size: head.len() - 4,
            keeps_alive: true,
            has_chunks: true,
        };
        assert_eq!(HttpRequest::parse(head), Ok(Some(request)));
        let head = b"HEAD * HTTP/1.0\r\n\r\n";
        let size = head.len();
        let (keeps_alive, has_chunks) = (false, false);
        let request =
            HttpRequest { method: "HEAD", path: "*", query: "", size, keeps_alive, has_chunks, ..request };
        assert_eq!(HttpRequest::parse(head), Ok(Some(request)));
    }

    #[test]
    fn request_with_the_whole_url_is_for_its_path() {
        assert_eq!(path_and_query("http://a:9090/livez?b=http://c/"), ("/livez", "b=http://c/"));
        assert_eq!(path_and_query("http://a?b"), ("/", "b"));
        assert_eq!(path_and_query("/http://a/livez"), ("/http://a/livez", ""));
    }

    #[test]
    fn client_that_takes_lines_names_them() {
        let takes = |field: &str| {
            let head = format!("GET / HTTP/1.1\r\n{field}\r\n\r\n");
            HttpRequest::parse(head.as_bytes()).unwrap().unwrap().takes_lines
        };
        assert!(takes("accept: text/html, Application/X-NDJSON;q=0.9"));
        assert!(!takes("Accept: */*") && !takes("Accept: application/x-ndjsonp") && !takes("A: b"));
    }

    #[test]
    fn request_keeps_its_connection_unless_it_says_otherwise_or_has_a_body() {
        let keeps = |fields: &str| {
            let head = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            HttpRequest::parse(head.as_bytes()).unwrap().unwrap().keeps_alive
        };
        assert!(keeps("") && keeps("Connection: keep-alive\r\n") && keeps("Content-Length: 0\r\n"));
        assert!(!keeps("Connection: Close\r\n") && !keeps("connection: te , close\r\n"));
        assert!(!keeps("Content-Length: 3\r\n") && !keeps("Transfer-Encoding: chunked\r\n"));
    }

    #[test]
    fn request_without_its_end_is_incomplete() {
        let head = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n";
        for length in 0..head.len() {
            assert_eq!(HttpRequest::parse(&head[..length]), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn malformed_request_is_400() {
        let cases: [&[u8]; 11] = [
            b"\0\xff\r\n\r\n",
            b" GET / HTTP/1.1\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /livez\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / RTSP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\0: a\r\n\r\n",
            // The start of a TLS handshake.
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ];
        for head in cases {
            assert_eq!(refusal(head), 400, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn head_beyond_its_limits_is_431() {
        let with_cookie = |size| {
            let mut head = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(size)).into_bytes();
            head.truncate(size);
            head
        };
        assert_eq!(HttpRequest::parse(&with_cookie(HEAD_LIMIT - 1)), Ok(None));
        assert_eq!(refusal(&with_cookie(HEAD_LIMIT)), 431);
        let fields = "a:\r\n".repeat(FIELD_LIMIT + 1);
        assert_eq!(refusal(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()), 431);
    }

    #[test]
    fn head_of_an_answer_has_its_length_and_ends_with_an_empty_line() {
        let answer = Answer::text(200, "ok\n");
        let head = answer.head(true);
        assert!(head.contains("Content-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head:?}");
        assert!(!head.contains("Connection"), "{head:?}");
        assert!(answer.head(false).ends_with("Connection: close\r\n\r\n"));
    }
}
