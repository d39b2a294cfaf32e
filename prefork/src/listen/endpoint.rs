//! An address of the fleet: as written, and as resolved.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use prefork_options::address::{self, Address, Host, SYSTEMD, UNIX};
use socket2::Socket;

use super::{Network, admits};
use crate::error::Error;
use crate::sys;

/// An address as the options name it, and its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) addr: String,
    pub(crate) network: Network,
}

impl Endpoint {
    /// The address `addr`, on `network` if the user named one and the address leaves it open: the
    /// prefix `unix:` determines the network, and so does an IPv6 literal without a named one.
    pub(crate) fn new(addr: &str, network: Option<Network>) -> Self {
        let by_itself = if addr.starts_with('[') { Network::Tcp6 } else { Network::default() };
        let network = if addr.starts_with(UNIX) {
            Network::Unix
        } else if addr.starts_with(SYSTEMD) {
            // The socket decides.
            Network::Tcp
        } else {
            network.unwrap_or(by_itself)
        };
        Self { addr: addr.to_owned(), network }
    }

    /// The socket that the service manager calls `name`.
    pub(crate) fn activated(name: &str) -> Self {
        Self::new(&format!("{SYSTEMD}{name}"), None)
    }

    /// The service manager's name for the socket, if it comes from there.
    pub(crate) fn activated_name(&self) -> Option<&str> {
        self.addr.strip_prefix(SYSTEMD)
    }

    pub(crate) fn is_activated(&self) -> bool {
        self.activated_name().is_some()
    }

    /// Checks the form of the address; looks nothing up.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`].
    pub(crate) fn check_form(&self) -> Result<(), Error> {
        let parsed = address::parse(&self.addr, Some(self.network));
        parsed.map(drop).map_err(|reason| self.resolve_error(reason))
    }

    /// Resolves the address, unless it is a socket of the service manager.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`].
    pub(crate) fn resolved(&self) -> Result<ResolvedEndpoint, Error> {
        let endpoint = self.clone();
        let place = if self.is_activated() { None } else { Some(self.resolve()?) };
        Ok(ResolvedEndpoint { endpoint, place })
    }

    pub(super) fn resolve(&self) -> Result<Place, Error> {
        resolve(&self.addr, self.network).map_err(|reason| self.resolve_error(reason))
    }

    /// The error of an address that names a socket which the service manager has not passed.
    pub(super) fn not_passed(&self) -> Error {
        self.resolve_error(resolve(&self.addr, self.network).err().unwrap_or_default())
    }

    fn resolve_error(&self, reason: String) -> Error {
        Error::Resolve { addr: self.addr.clone(), network: self.network, reason }
    }

    pub(super) fn bind_error(&self, source: io::Error) -> Error {
        Error::Bind { addr: self.addr.clone(), network: self.network, source }
    }
}

/// An address, and the place where it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedEndpoint {
    pub(crate) endpoint: Endpoint,
    /// `None` for a socket of the service manager.
    pub(crate) place: Option<Place>,
}

impl ResolvedEndpoint {
    /// The address of a listener of the master's own, such as the health endpoint's.
    ///
    /// # Errors
    ///
    /// [`Error::Resolve`].
    pub(crate) fn beside(addr: &str) -> Result<Self, Error> {
        let endpoint = Endpoint { addr: addr.to_owned(), network: Network::Tcp };
        let place = resolve_tcp(addr, Network::Tcp).map_err(|reason| endpoint.resolve_error(reason))?;
        Ok(Self { endpoint, place: Some(Place::Tcp(place)) })
    }
}

/// An IP address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TcpPlace {
    pub(crate) addr: SocketAddr,
    /// Whether an IPv6 socket accepts IPv4 connections too.
    pub(crate) dual_stack: bool,
}

/// A resolved address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(TcpPlace),
    /// A Unix socket in the file system.
    Path(PathBuf),
    /// A Unix socket without a file (Linux).
    Abstract(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(f, "{}", place.addr),
            Self::Path(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Abstract(name) => write!(f, "{UNIX}@{name}"),
        }
    }
}

/// Resolves `addr`; the error is the reason in [`Error::Resolve`](crate::Error::Resolve).
fn resolve(addr: &str, network: Network) -> Result<Place, String> {
    match address::parse(addr, Some(network))? {
        Address::Tcp(tcp) => look_up(tcp, network).map(Place::Tcp),
        Address::Path(path) => Ok(Place::Path(path)),
        Address::Abstract(name) => Ok(Place::Abstract(name)),
        Address::Systemd(name) => Err(format!(
            "no service manager passed a socket `{name}`; start the program by a socket unit, or name an address"
        )),
        _ => Err("its form is unknown here".to_owned()),
    }
}

/// [`resolve`], on one of the networks of TCP.
fn resolve_tcp(addr: &str, network: Network) -> Result<TcpPlace, String> {
    look_up(address::parse_tcp(addr)?, network)
}

fn look_up(tcp: address::Tcp, network: Network) -> Result<TcpPlace, String> {
    let address::Tcp { host, port, .. } = tcp;
    match host {
        Host::Any => {
            let ip = match network {
                Network::Tcp4 => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            };
            Ok(TcpPlace { addr: SocketAddr::new(ip, port), dual_stack: network == Network::Tcp })
        }
        Host::Ip(ip) if admits(network, ip) => {
            Ok(TcpPlace { addr: SocketAddr::new(ip, port), dual_stack: false })
        }
        Host::Ip(ip) => {
            let version = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(format!("{ip} is an {version} address, which network {network} does not admit"))
        }
        Host::Name(name) => {
            let addr = look_up_name(&name, port, network)?;
            Ok(TcpPlace { addr, dual_stack: false })
        }
        _ => Err("the form of its host is unknown here".to_owned()),
    }
}

/// The address of a host, IPv4 if it has both.
fn look_up_name(name: &str, port: u16, network: Network) -> Result<SocketAddr, String> {
    let found: Vec<SocketAddr> = (name, port)
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up `{name}`: {error}"))?
        .filter(|found| admits(network, found.ip()))
        .collect();
    let preferred = found.iter().find(|found| found.is_ipv4()).or(found.first());
    preferred.copied().ok_or_else(|| format!("`{name}` has no address that network {network} admits"))
}

/// The address of a socket that another process opened.
pub(super) fn place_of(socket: &Socket) -> io::Result<Place> {
    match socket.local_addr()?.as_socket() {
        Some(addr) => {
            let dual_stack = addr.is_ipv6() && !socket.only_v6()?;
            Ok(Place::Tcp(TcpPlace { addr, dual_stack }))
        }
        None => resolve(&sys::unix_name(socket)?, Network::Unix).map_err(io::Error::other),
    }
}

/// The address that a socket listens on, in the form in which the master and its children name it.
pub(crate) fn name_of(socket: &Socket) -> io::Result<String> {
    Ok(place_of(socket)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(addr: &str, network: Network) -> (String, bool) {
        match resolve(addr, network).unwrap() {
            Place::Tcp(place) => (place.addr.to_string(), place.dual_stack),
            other => panic!("no TCP address: {other:?}"),
        }
    }

    #[test]
    fn address_resolves_to_its_place() {
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
    fn unresolvable_address_has_reason() {
        let cases = [
            ("localhost", "has no port"),
            ("[::1]:80", "IPv6 address, which network tcp4"),
            ("no-such-host.invalid:80", "cannot look up"),
        ];
        for (addr, expected) in cases {
            let reason = resolve(addr, Network::Tcp4).unwrap_err();
            assert!(reason.contains(expected), "{addr}: {reason}");
        }
        let reason = resolve("127.0.0.1:80", Network::Tcp6).unwrap_err();
        assert!(reason.contains("IPv4 address, which network tcp6"), "{reason}");
    }

    #[test]
    fn unix_sockets_have_a_path_or_an_abstract_name() {
        let place = |addr| Endpoint::new(addr, None).resolve().unwrap();
        assert_eq!(place("unix:/run/app.sock"), Place::Path("/run/app.sock".into()));
        assert_eq!(place("unix:@app"), Place::Abstract("app".to_owned()));
        let on_unix = |addr| Endpoint::new(addr, Some(Network::Unix)).resolve().unwrap();
        assert_eq!(on_unix("./app.sock"), Place::Path("./app.sock".into()));
    }

    #[test]
    fn network_comes_from_address_then_from_option() {
        let network = |addr, option| Endpoint::new(addr, option).network;
        assert_eq!(network("unix:/x", Some(Network::Tcp4)), Network::Unix);
        assert_eq!(network("[::1]:80", None), Network::Tcp6);
        assert_eq!(network("[::1]:80", Some(Network::Tcp)), Network::Tcp);
        assert_eq!(network(":80", None), Network::Tcp4);
    }
}
