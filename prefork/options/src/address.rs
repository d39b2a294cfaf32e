//! The form of addresses: `host:port`, `:port`, `[v6]:port`, `unix:/path`, `unix:@name`,
//! `systemd:name`. What a host's name means is found out when the server starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::Network;

/// The prefix of a Unix socket's address, on whatever network the others are.
pub const UNIX: &str = "unix:";
/// The prefix of a socket that the service manager opened.
pub const SYSTEMD: &str = "systemd:";

/// An address, by its form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Host and port.
    Tcp(Tcp),
    /// A Unix socket in the file system.
    Path(PathBuf),
    /// A Unix socket with an abstract name.
    Abstract(String),
    /// The name of a socket that the service manager opened.
    Systemd(String),
}

/// Host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tcp {
    /// The host.
    pub host: Host,
    /// The port; 0 is any free one.
    pub port: u16,
}

/// The host of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// No host: every interface.
    Any,
    /// An IP address.
    Ip(IpAddr),
    /// A name; or an IPv6 address with its interface, which only the running system knows.
    Name(String),
}

/// Reads an address on `network`, if the options name one.
///
/// # Errors
///
/// What is wrong with the address, and what to write.
pub fn parse(addr: &str, network: Option<Network>) -> Result<Address, String> {
    if addr.is_empty() {
        return Err("the address is empty: write `host:port`, or `:8080` for every interface".into());
    }
    refuse_control_characters(addr)?;
    if let Some(name) = addr.strip_prefix(SYSTEMD) {
        let missing = "the socket's name is missing: write `systemd:http`, for `FileDescriptorName=http`";
        return if name.is_empty() { Err(missing.into()) } else { Ok(Address::Systemd(name.into())) };
    }
    match (addr.strip_prefix(UNIX), network) {
        (Some(name), _) => parse_unix(name),
        (None, Some(Network::Unix)) => parse_unix(addr),
        (None, _) => parse_tcp(addr).map(Address::Tcp),
    }
}

/// Reads an address that can only be one of TCP.
///
/// # Errors
///
/// What is wrong with the address, and what to write.
pub fn parse_tcp(addr: &str) -> Result<Tcp, String> {
    refuse_control_characters(addr)?;
    if let Some((scheme, rest)) = addr.split_once("://") {
        return Err(format!("`{addr}` starts with a scheme: leave `{scheme}://` out, as in `{rest}`"));
    }
    if is_digits(addr) {
        return Err(format!("`{addr}` has no host: write `:{addr}` for every interface"));
    }
    if addr.starts_with(UNIX) {
        return Err(format!("`{addr}` is a Unix socket: write `host:port`"));
    }
    if addr.starts_with(['/', '@', '.']) {
        return Err(format!("`{addr}` is a Unix socket: write `{UNIX}{addr}`"));
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
    Ok(Tcp { host, port: parse_port(addr, port)? })
}

/// Reads the path or the abstract name of a Unix socket, without its prefix.
///
/// # Errors
///
/// What is wrong with the name, and what to write.
pub fn parse_unix(name: &str) -> Result<Address, String> {
    if name == "@" || name.is_empty() {
        return Err("the Unix socket has no name: write `unix:/run/app.sock`".into());
    }
    refuse_control_characters(name)?;
    if let Some(path) = name.strip_prefix("//") {
        return Err(format!("`unix:{name}` starts with a scheme: write `unix:{path}`"));
    }
    if let Some(name) = name.strip_prefix('@') {
        return Ok(Address::Abstract(name.to_owned()));
    }
    // A lone word is more likely a host than a file in the working directory.
    if !name.contains('/') {
        return Err(format!(
            "`{name}` is no path: write `unix:./{name}`, or `unix:@{name}` for an abstract name"
        ));
    }
    if name.ends_with('/') {
        return Err(format!("`{name}` is a directory: write the path of a file in it"));
    }
    Ok(Address::Path(PathBuf::from(name)))
}

/// No address has any, and the messages of other mistakes quote the address.
fn refuse_control_characters(addr: &str) -> Result<(), String> {
    if addr.contains(char::is_control) {
        return Err(format!("`{}` contains a control character", addr.escape_debug()));
    }
    Ok(())
}

fn parse_host(host: &str, port: &str) -> Result<Host, String> {
    if host.is_empty() {
        return Ok(Host::Any);
    }
    if host == "*" {
        return Err(format!("`*` is no host: write `:{port}` for every interface"));
    }
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(|| format!("`{host}` lacks its `]`"))?;
        let (ip, interface) = inner.split_once('%').unwrap_or((inner, ""));
        return match ip.parse::<Ipv6Addr>() {
            Ok(ip) if interface.is_empty() => Ok(Host::Ip(ip.into())),
            Ok(_) => Ok(Host::Name(inner.to_owned())),
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
        None => Ok(Host::Name(host.to_owned())),
    }
}

fn parse_port(addr: &str, port: &str) -> Result<u16, String> {
    if port.is_empty() {
        return Err(format!("`{addr}` has no port: write `{addr}8080`"));
    }
    if !is_digits(port) {
        return Err(format!("the port of `{addr}` is not a number from 0 to 65535"));
    }
    port.parse().map_err(|_| format!("port {port} is out of range: it must be from 0 to 65535"))
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
            assert!(parse(addr, None).is_ok(), "{addr}: {:?}", parse(addr, None));
        }
    }

    #[test]
    fn host_is_known_by_its_form() {
        let host = |addr| parse_tcp(addr).unwrap().host;
        assert_eq!(host("127.0.0.1:80"), Host::Ip(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(host("[::1]:80"), Host::Ip(Ipv6Addr::LOCALHOST.into()));
        assert_eq!(host(":80"), Host::Any);
        assert_eq!(host("localhost:80"), Host::Name("localhost".into()));
    }

    #[test]
    fn unix_sockets_have_a_path_or_an_abstract_name() {
        assert_eq!(parse("unix:/run/app.sock", None), Ok(Address::Path("/run/app.sock".into())));
        assert_eq!(parse("unix:@app", Some(Network::Tcp4)), Ok(Address::Abstract("app".into())));
        assert_eq!(parse("./app.sock", Some(Network::Unix)), Ok(Address::Path("./app.sock".into())));
        assert_eq!(parse("systemd:http", None), Ok(Address::Systemd("http".into())));
        for (addr, part) in [
            ("@", "no name"),
            ("127.0.0.1:80", "no path"),
            ("app.sock", "write `unix:./app.sock`"),
            ("/run/", "directory"),
            ("/run/a\nb", "control character"),
        ] {
            let reason = parse(addr, Some(Network::Unix)).unwrap_err();
            assert!(reason.contains(part), "{addr}: {reason}");
        }
        assert!(parse("/run/app.sock", None).unwrap_err().contains("write `unix:/run/app.sock`"));
    }

    #[test]
    fn each_mistake_has_its_message() {
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
            ("a\nb", "`a\\nb` contains a control character"),
            ("http://\u{1b}[2J", "contains a control character"),
            ("systemd:a\nb", "contains a control character"),
            ("unix://a\nb", "contains a control character"),
        ] {
            let message = parse(addr, None).expect_err(addr);
            assert!(message.contains(part), "{addr}: {message}");
        }
    }
}
