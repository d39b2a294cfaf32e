//! Requests and answers of HTTP/1.

use std::sync::Arc;

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
    /// The size of the head, in bytes.
    pub(super) size: usize,
    /// Whether another request may follow on the connection.
    pub(super) keeps_alive: bool,
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
        let keeps_alive = request.version == Some(1) && !has_body(&request) && !says_close(&request);
        let path = path_of(request.path.unwrap_or_default());
        Ok(Some(Self { method: request.method.unwrap_or_default(), path, size, keeps_alive }))
    }
}

/// The path of a request's target. A client may send the whole URL, as to a proxy (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    let target = target.split('?').next().unwrap_or_default();
    match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    }
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
}

impl Answer {
    pub(in crate::master) fn text(code: u16, body: &str) -> Self {
        Self { code, kind: "text/plain; charset=utf-8", body: body.into() }
    }

    pub(in crate::master) fn json(body: String) -> Self {
        Self { code: 200, kind: "application/json", body: body.into() }
    }

    /// Metrics in the Prometheus text format.
    pub(in crate::master) fn metrics(body: Arc<str>) -> Self {
        Self { code: 200, kind: "text/plain; version=0.0.4; charset=utf-8", body }
    }

    pub(super) fn body(&self) -> &Arc<str> {
        &self.body
    }

    /// What precedes the body. Without `keeps_alive` it says that the connection is closed.
    pub(super) fn head(&self, keeps_alive: bool) -> String {
        let Self { code, kind, body } = self;
        let reason = match code {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let mut text = format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n",
            body.len()
        );
        if *code == 405 {
            text += "Allow: GET, HEAD\r\n";
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
        let request = HttpRequest { method: "GET", path: "/readyz", size: head.len() - 4, keeps_alive: true };
        assert_eq!(HttpRequest::parse(head), Ok(Some(request)));
        let head = b"HEAD * HTTP/1.0\r\n\r\n";
        let request = HttpRequest { method: "HEAD", path: "*", size: head.len(), keeps_alive: false };
        assert_eq!(HttpRequest::parse(head), Ok(Some(request)));
    }

    #[test]
    fn request_with_the_whole_url_is_for_its_path() {
        assert_eq!(path_of("http://a:9090/livez?b=http://c/"), "/livez");
        assert_eq!(path_of("http://a?b"), "/");
        assert_eq!(path_of("/http://a/livez"), "/http://a/livez");
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
