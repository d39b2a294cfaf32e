//! Addresses, networks and the sockets that listen on them. All of it runs in the master.

mod sockets;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

pub(crate) use sockets::Sockets;

/// Which IP versions the fleet listens on; the seed's `Network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Network {
    /// `"tcp"`: whatever the address says; without a host, IPv4 and IPv6 on one socket.
    Tcp,
    /// `"tcp4"`: IPv4 only. The default.
    #[default]
    Tcp4,
    /// `"tcp6"`: IPv6 only, also where the system would map IPv4 onto it.
    Tcp6,
}

impl Network {
    /// Where a fleet listens that was told nothing: the loopback interface, port 8080.
    pub(crate) fn default_addr(self) -> &'static str {
        match self {
            Self::Tcp | Self::Tcp4 => "127.0.0.1:8080",
            Self::Tcp6 => "[::1]:8080",
        }
    }

    fn admits(self, ip: IpAddr) -> bool {
        match self {
            Self::Tcp => true,
            Self::Tcp4 => ip.is_ipv4(),
            Self::Tcp6 => ip.is_ipv6(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Tcp4 => "tcp4",
            Self::Tcp6 => "tcp6",
        })
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `tcp`, `tcp4` or `tcp6`; the error says so.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "tcp" => Ok(Self::Tcp),
            "tcp4" => Ok(Self::Tcp4),
            "tcp6" => Ok(Self::Tcp6),
            _ => Err("`tcp4`, `tcp6` or `tcp`".to_owned()),
        }
    }
}

/// How the children share the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// One socket that every child accepts from.
    Shared,
    /// A socket for each slot; the kernel spreads connections over them.
    Reuseport,
}

impl Sharing {
    /// What becomes of it on this system: on Windows every fleet shares one socket. Why is told where
    /// the system is dealt with.
    pub(crate) fn in_effect(self) -> Self {
        if cfg!(windows) { Self::Shared } else { self }
    }
}

/// A place to listen, after resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    addr: SocketAddr,
    /// Whether an IPv6 socket takes IPv4 connections too.
    dual_stack: bool,
}

/// The first socket on the address takes it alone, so that an address that is in use is an error
/// even if its user would share it (another copy of this very program, most likely). Only then does
/// it open up for the sockets of the other slots.
fn bind_first(place: Place, sharing: Sharing) -> io::Result<Socket> {
    let socket = open(place)?;
    let shares = sharing == Sharing::Reuseport;
    let late_join = cfg!(any(target_os = "linux", target_os = "android"));
    if shares && !late_join {
        // Elsewhere the option counts only if it is set before bind: try the address out first.
        let probe = open(place)?;
        probe.bind(&place.addr.into())?;
        drop(probe);
        join_reuseport_group(&socket)?;
    }
    socket.bind(&place.addr.into())?;
    if shares && late_join {
        join_reuseport_group(&socket)?;
    }
    Ok(socket)
}

/// The first socket, where the address is one that this machine can have.
fn bind_first_possible(place: Place, sharing: Sharing) -> io::Result<Socket> {
    match bind_first(place, sharing) {
        // The machine has no IPv6: "every address" is then every IPv4 address.
        Err(error) if place.dual_stack && sys::lacks_ipv6(&error) => {
            let addr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), place.addr.port());
            bind_first(Place { addr, dual_stack: false }, sharing)
        }
        bound => bound,
    }
}

fn open(place: Place) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(place.addr), Type::STREAM, Some(Protocol::TCP))?;
    if place.addr.is_ipv6() {
        socket.set_only_v6(!place.dual_stack)?;
    }
    // Restart at once although connections of the last run linger in TIME_WAIT. Windows does so by
    // itself, and the option means something else there: that others may take the address away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(unix)]
fn join_reuseport_group(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// There are none on Windows, and nobody asks for one: see [`Sharing::in_effect`].
#[cfg(not(unix))]
fn join_reuseport_group(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Finds out what `addr` means; the error is a reason, for [`Error::Resolve`].
fn resolve(addr: &str, network: Network) -> Result<Place, String> {
    let (host, port) = split(addr)?;
    if host.is_empty() {
        let ip = match network {
            Network::Tcp4 => Ipv4Addr::UNSPECIFIED.into(),
            Network::Tcp6 | Network::Tcp => Ipv6Addr::UNSPECIFIED.into(),
        };
        return Ok(Place { addr: SocketAddr::new(ip, port), dual_stack: network == Network::Tcp });
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        if !network.admits(ip) {
            let version = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            return Err(format!("{ip} is an {version} address, which network {network} does not admit"));
        }
        return Ok(Place { addr: SocketAddr::new(ip, port), dual_stack: false });
    }
    let found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up `{host}`: {error}"))?
        .filter(|found| network.admits(found.ip()))
        .collect();
    let preferred = found.iter().find(|found| found.is_ipv4()).or(found.first());
    match preferred {
        Some(addr) => Ok(Place { addr: *addr, dual_stack: false }),
        None => Err(format!("`{host}` has no address that network {network} admits")),
    }
}

/// Splits `host:port`, `[v6]:port` or `:port`.
fn split(addr: &str) -> Result<(&str, u16), String> {
    const FORM: &str = "expected `host:port`, `:port` or `[v6 address]:port`";
    let (host, port) = addr.rsplit_once(':').ok_or_else(|| format!("it has no port; {FORM}"))?;
    let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(host)) => host,
        Some(None) => return Err(format!("the bracket is not closed; {FORM}")),
        None if host.contains(':') => {
            return Err(format!("an IPv6 address needs brackets: `[{host}]:{port}`"));
        }
        None => host,
    };
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("its port `{port}` is not a number; {FORM}"));
    }
    let port = port.parse().map_err(|_| format!("its port {port} is over 65535"))?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(addr: &str, network: Network) -> (String, bool) {
        let place = resolve(addr, network).unwrap();
        (place.addr.to_string(), place.dual_stack)
    }

    #[test]
    fn addresses_mean_what_they_say() {
        use Network::{Tcp, Tcp4, Tcp6};
        let cases = [
            ("127.0.0.1:80", Tcp4, "127.0.0.1:80", false),
            ("[::1]:80", Tcp6, "[::1]:80", false),
            ("[::1]:80", Tcp, "[::1]:80", false),
            (":80", Tcp4, "0.0.0.0:80", false),
            (":80", Tcp6, "[::]:80", false),
            (":80", Tcp, "[::]:80", true),
            ("localhost:80", Tcp4, "127.0.0.1:80", false),
            ("localhost:0", Tcp, "127.0.0.1:0", false),
        ];
        for (addr, network, expected, dual_stack) in cases {
            assert_eq!(place(addr, network), (expected.to_owned(), dual_stack), "{addr} on {network}");
        }
    }

    #[test]
    fn bad_addresses_say_why() {
        let cases = [
            ("", "has no port"),
            ("localhost", "has no port"),
            ("localhost:", "not a number"),
            ("localhost:http", "not a number"),
            ("localhost:+80", "not a number"),
            ("127.0.0.1:65536", "over 65535"),
            ("::1:80", "`[::1]:80`"),
            ("[::1:80", "not closed"),
            ("[::1]:80", "IPv6 address, which network tcp4"),
            ("no such host:80", "cannot look up"),
        ];
        for (addr, expected) in cases {
            let reason = resolve(addr, Network::Tcp4).unwrap_err();
            assert!(reason.contains(expected), "{addr}: {reason}");
        }
        let reason = resolve("127.0.0.1:80", Network::Tcp6).unwrap_err();
        assert!(reason.contains("IPv4 address, which network tcp6"), "{reason}");
    }
}
