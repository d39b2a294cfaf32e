//! Addresses in literals: `host:port`, `:port`, `[v6]:port`, `unix:/path`, `unix:@name`, `systemd:name`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the address names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// An address of one family.
    Ip(IpAddr),
    /// A name, or nothing: the family is found out when the server starts.
    Open,
}

/// Reads an address; the error says what is wrong with it and what to write.
pub(crate) fn parse(addr: &str) -> Result<Host, String> {
    if addr.is_empty() {
        return Err("the address is empty: write `host:port`, or `:8080` for every interface".into());
    }
    if let Some(name) = addr.strip_prefix("unix:") {
        return parse_unix(name);
    }
    if let Some(name) = addr.strip_prefix("systemd:") {
        let missing = "the socket's name is missing: write `systemd:http`, for `FileDescriptorName=http`";
        return if name.is_empty() { Err(missing.into()) } else { Ok(Host::Open) };
    }
    // With `network = "unix"`; whether that is there is looked at elsewhere.
    if addr.starts_with(['/', '@', '.']) {
        return Ok(Host::Open);
    }
    parse_tcp(addr)
}

/// [`parse`], for an address that can only be one of TCP.
pub(crate) fn parse_tcp(addr: &str) -> Result<Host, String> {
    if let Some((scheme, rest)) = addr.split_once("://") {
        return Err(format!("`{addr}` starts with a scheme: leave `{scheme}://` out, as in `{rest}`"));
    }
    if is_digits(addr) {
        return Err(format!("`{addr}` has no host: write `:{addr}` for every interface"));
    }
    let (host, port) = match addr.rsplit_once(':') {
        Some(parts) if !addr.ends_with(']') => parts,
        _ => return Err(format!("`{addr}` has no port: write `{addr}:8080`")),
    };
    // `::1:8080` is an IPv6 address by itself, but hardly meant as one.
    if addr.parse::<Ipv6Addr>().is_ok() && host.parse::<Ipv6Addr>().is_err() {
        return Err(format!("an IPv6 address needs brackets and a port: write `[{addr}]:8080`"));
    }
    let host = parse_host(host, port)?;
    check_port(addr, port)?;
    Ok(host)
}

fn parse_unix(name: &str) -> Result<Host, String> {
    if name == "@" || name.is_empty() {
        return Err("the Unix socket has no name: write `unix:/run/app.sock`".into());
    }
    if let Some(path) = name.strip_prefix("//") {
        return Err(format!("`unix:{name}` starts with a scheme: write `unix:{path}`"));
    }
    if !name.starts_with('@') && !name.contains('/') {
        return Err(format!(
            "`{name}` is no path: write `unix:./{name}`, or `unix:@{name}` for an abstract name"
        ));
    }
    Ok(Host::Open)
}

fn parse_host(host: &str, port: &str) -> Result<Host, String> {
    if host.is_empty() {
        return Ok(Host::Open);
    }
    if host == "*" {
        return Err(format!("`*` is no host: write `:{port}` for every interface"));
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(|| format!("`{host}` lacks its `]`"))?;
        // A link-local address may name its interface, which only the running system knows.
        let (ip, _interface) = inner.split_once('%').unwrap_or((inner, ""));
        return match ip.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(Host::Ip(ip.into())),
            Err(_) => Err(format!("`{inner}` is not an IPv6 address, which brackets are for")),
        };
    }
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address needs brackets: write `[{host}]:{port}`"));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("`{host}` is not an IPv4 address: it takes four numbers from 0 to 255"));
    }
    match host.chars().find(|c| !c.is_alphanumeric() && !"-._".contains(*c)) {
        Some(c) => Err(format!("`{host}` is not a host name: it contains `{}`", c.escape_debug())),
        None => Ok(Host::Open),
    }
}

fn check_port(addr: &str, port: &str) -> Result<(), String> {
    if port.is_empty() {
        return Err(format!("`{addr}` has no port: write `{addr}8080`"));
    }
    if !is_digits(port) {
        return Err(format!("the port of `{addr}` is not a number from 0 to 65535"));
    }
    match port.parse::<u16>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("port {port} is out of range: it must be from 0 to 65535")),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_can_be_bound_pass() {
        for addr in [
            "127.0.0.1:8080",
            "0.0.0.0:0",
            ":8080",
            "localhost:65535",
            "my-host.example.com:1",
            "[::1]:8080",
            "[::]:0",
            "[fe80::1%eth0]:80",
        ] {
            assert!(parse(addr).is_ok(), "{addr}: {:?}", parse(addr));
        }
    }

    #[test]
    fn the_family_of_an_ip_is_known() {
        assert!(matches!(parse("127.0.0.1:80"), Ok(Host::Ip(IpAddr::V4(_)))));
        assert!(matches!(parse("[::1]:80"), Ok(Host::Ip(IpAddr::V6(_)))));
        assert_eq!(parse(":80"), Ok(Host::Open));
        assert_eq!(parse("localhost:80"), Ok(Host::Open));
    }

    #[test]
    fn mistakes_are_told_apart() {
        for (addr, part) in [
            ("", "empty"),
            ("8080", "write `:8080`"),
            ("localhost", "write `localhost:8080`"),
            ("127.0.0.1", "write `127.0.0.1:8080`"),
            ("127.0.0.1:", "has no port"),
            ("127.0.0.1:http", "not a number"),
            ("127.0.0.1:65536", "port 65536 is out of range"),
            ("127.0.0.1:-1", "not a number"),
            ("127.0.0.1:+1", "not a number"),
            ("256.0.0.1:80", "not an IPv4 address"),
            ("127.1:80", "not an IPv4 address"),
            ("::1", "write `[::1]:8080`"),
            ("::1:9090", "write `[::1]:9090`"),
            ("[::1]", "write `[::1]:8080`"),
            ("fe80::1:ffff8:80", "contains `:`"),
            ("1:2:3:4:5:6:7:8:80", "write `[1:2:3:4:5:6:7:8]:80`"),
            ("[::1:80", "lacks its `]`"),
            ("[127.0.0.1]:80", "not an IPv6 address"),
            ("*:80", "write `:80`"),
            ("http://localhost:80", "as in `localhost:80`"),
            ("local host:80", "contains ` `"),
        ] {
            let message = parse(addr).expect_err(addr);
            assert!(message.contains(part), "{addr}: {message}");
        }
    }
}
