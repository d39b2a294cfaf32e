//! What the next program needs of the master before it takes the master's place: the answer of the child that
//! checks it.
//!
//! ```text
//! prefork-plan/1 workers=4 grace_ms=5000 title=app sharing=shared addr=:80 network=tcp4 at=tcp:0.0.0.0:80
//!     nodelay=true health=127.0.0.1:9090 health_at=tcp:127.0.0.1:9090
//!     control=/run/app.sock pid_file=/run/app.pid
//!     secret_file=/etc/ssl/app.pem no_new_privs=false check=0dd4c7b1
//! ```
//!
//! It is one line. `addr`, `network` and `at` are lists of the same length; `at` is empty for a socket of the
//! service manager.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::codec::{FieldValue, Format, Record, invalid};
use super::privilege_fields::{privileges_of, with_privileges};
use crate::listen::{Endpoint, Network, Place, ResolvedEndpoint, Sharing, SocketOptions, TcpPlace};
use crate::privileges::Privileges;
use crate::sys::SocketFileOptions;

pub(super) const FORMAT: Format = Format { name: "plan", version: 1 };

/// Begins every plan, of whatever version.
const BEGINNING: &str = "prefork-plan/";

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpgradePlan {
    pub(crate) workers: usize,
    pub(crate) grace: Duration,
    pub(crate) title: String,
    pub(crate) sharing: Sharing,
    pub(crate) endpoints: Vec<ResolvedEndpoint>,
    pub(crate) sockets: SocketOptions,
    pub(crate) health: Option<ResolvedEndpoint>,
    pub(crate) control: Option<PathBuf>,
    pub(crate) pid_file: Option<PathBuf>,
    /// The files of certificates and keys.
    pub(crate) secret_files: Vec<PathBuf>,
    /// The privileges of the children.
    pub(crate) privileges: Privileges,
    /// The CPUs that the children are pinned to, cyclically.
    pub(crate) cpus: Vec<usize>,
}

impl UpgradePlan {
    /// Whether a line of a child is a plan.
    pub(crate) fn is_one(line: &str) -> bool {
        line.starts_with(BEGINNING)
    }

    pub(crate) fn to_line(&self) -> String {
        let Self { workers, grace, title, sharing, endpoints, sockets, health, pid_file, .. } = self;
        let record = FORMAT
            .heading()
            .with("workers", workers)
            .with("grace_ms", grace)
            .with("title", title)
            .with("sharing", sharing);
        let record = endpoints.iter().fold(record, |record, ResolvedEndpoint { endpoint, place }| {
            record.with("addr", &endpoint.addr).with("network", &endpoint.network).with("at", place)
        });
        let record = with_socket_options(record, sockets);
        let record = health.iter().fold(record, |record, ResolvedEndpoint { endpoint, place }| {
            record.with("health", &endpoint.addr).with("health_at", place)
        });
        let record = record
            .with_each("control", &self.control)
            .with_each("pid_file", pid_file)
            .with_each("secret_file", &self.secret_files)
            .with_each("cpu_affinity", &self.cpus);
        Format::write(&[with_privileges(record, &self.privileges)])
    }

    /// # Errors
    ///
    /// The line is no plan, one of another version, or damaged.
    pub(crate) fn from_line(line: &str) -> io::Result<Self> {
        let (record, _) = FORMAT.read(line)?;
        Ok(Self {
            workers: record.get("workers")?,
            grace: record.get("grace_ms")?,
            title: record.find("title")?.unwrap_or_default(),
            sharing: record.get("sharing")?,
            endpoints: endpoints_of(&record)?,
            sockets: socket_options_of(&record)?,
            health: health_of(&record)?,
            control: record.find("control")?,
            pid_file: record.find("pid_file")?,
            secret_files: record.all("secret_file")?,
            privileges: privileges_of(&record)?,
            cpus: record.all("cpu_affinity")?,
        })
    }
}

fn endpoints_of(record: &Record) -> io::Result<Vec<ResolvedEndpoint>> {
    let addrs: Vec<String> = record.all("addr")?;
    let (networks, places): (Vec<Network>, Vec<Option<Place>>) = (record.all("network")?, record.all("at")?);
    if addrs.is_empty() || addrs.len() != networks.len() || addrs.len() != places.len() {
        return Err(invalid("the plan's addresses are incomplete".to_owned()));
    }
    let endpoints = addrs.into_iter().zip(networks).map(|(addr, network)| Endpoint { addr, network });
    Ok(endpoints.zip(places).map(|(endpoint, place)| ResolvedEndpoint { endpoint, place }).collect())
}

fn health_of(record: &Record) -> io::Result<Option<ResolvedEndpoint>> {
    let Some(addr) = record.find("health")? else { return Ok(None) };
    let endpoint = Endpoint { addr, network: Network::Tcp };
    Ok(Some(ResolvedEndpoint { endpoint, place: record.get("health_at")? }))
}

fn with_socket_options(record: Record, sockets: &SocketOptions) -> Record {
    let SocketOptions { backlog, nodelay, keepalive, defer_accept, fastopen, file } = sockets;
    let SocketFileOptions { mode, user, group } = file;
    record
        .with_each("backlog", backlog)
        .with("nodelay", nodelay)
        .with_each("keepalive_ms", keepalive)
        .with_each("defer_accept_ms", defer_accept)
        .with_each("fastopen", fastopen)
        .with_each("unix_mode", mode)
        .with_each("unix_user", user)
        .with_each("unix_group", group)
}

fn socket_options_of(record: &Record) -> io::Result<SocketOptions> {
    Ok(SocketOptions {
        backlog: record.find("backlog")?,
        nodelay: record.find("nodelay")?.unwrap_or_default(),
        keepalive: record.find("keepalive_ms")?,
        defer_accept: record.find("defer_accept_ms")?,
        fastopen: record.find("fastopen")?,
        file: SocketFileOptions {
            mode: record.find("unix_mode")?,
            user: record.find("unix_user")?,
            group: record.find("unix_group")?,
        },
    })
}

/// `tcp:127.0.0.1:80`, `dual:[::]:80` for IPv6 with IPv4, `unix:/run/app.sock`, `unix:@name`, or nothing.
impl FieldValue for Option<Place> {
    fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            None => Cow::Borrowed(b""),
            Some(Place::Tcp(TcpPlace { addr, dual_stack: true })) => {
                format!("dual:{addr}").into_bytes().into()
            }
            Some(Place::Tcp(TcpPlace { addr, dual_stack: false })) => {
                format!("tcp:{addr}").into_bytes().into()
            }
            Some(Place::Abstract(name)) => format!("unix:@{name}").into_bytes().into(),
            Some(Place::Path(path)) => [b"unix:", path.as_os_str().as_encoded_bytes()].concat().into(),
        }
    }

    fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            return Some(None);
        }
        let rest = |prefix: &str| bytes.strip_prefix(prefix.as_bytes()).map(<[u8]>::to_vec);
        let tcp = |bytes, dual_stack| {
            let addr = String::from_utf8(bytes).ok()?.parse().ok()?;
            Some(Place::Tcp(TcpPlace { addr, dual_stack }))
        };
        let place = rest("tcp:").map(|addr| tcp(addr, false));
        let place = place.or_else(|| rest("dual:").map(|addr| tcp(addr, true)));
        let place =
            place.or_else(|| rest("unix:@").map(|name| String::from_utf8(name).ok().map(Place::Abstract)));
        let place = place.or_else(|| rest("unix:").map(|path| PathBuf::from_bytes(path).map(Place::Path)));
        place.flatten().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::super::codec::testing::{damaged, duration, newer, path, places};
    use super::super::handshake::tests::privileges;
    use super::super::snapshot::tests::{network, sharing};
    use super::*;

    fn place() -> impl Strategy<Value = Option<Place>> {
        let tcp = |addr, dual_stack| Place::Tcp(TcpPlace { addr, dual_stack });
        prop::option::of(prop_oneof![
            any::<(IpAddr, u16, bool)>()
                .prop_map(move |(ip, port, dual_stack)| tcp(SocketAddr::new(ip, port), dual_stack)),
            "[a-z]{0,9}".prop_map(Place::Abstract),
            "/.{0,9}".prop_map(|path| Place::Path(path.into())),
        ])
    }

    fn endpoint() -> impl Strategy<Value = ResolvedEndpoint> {
        (any::<String>(), network(), place()).prop_map(|(addr, network, place)| ResolvedEndpoint {
            endpoint: Endpoint { addr, network },
            place,
        })
    }

    fn sockets() -> impl Strategy<Value = SocketOptions> {
        let times = (prop::option::of(duration()), prop::option::of(duration()));
        let file = any::<(Option<u32>, Option<u32>, Option<u32>)>();
        (any::<(Option<i32>, bool, Option<u32>)>(), times, file).prop_map(
            |((backlog, nodelay, fastopen), (keepalive, defer_accept), (mode, user, group))| SocketOptions {
                backlog,
                nodelay,
                keepalive,
                defer_accept,
                fastopen,
                file: SocketFileOptions { mode, user, group },
            },
        )
    }

    fn plan() -> impl Strategy<Value = UpgradePlan> {
        let health = prop::option::of(endpoint()).prop_map(|health| {
            health.map(|mut health| {
                health.endpoint.network = Network::Tcp;
                health
            })
        });
        let paths = (prop::option::of(path()), prop::option::of(path()), prop::collection::vec(path(), 0..3));
        let addresses = (sharing(), prop::collection::vec(endpoint(), 1..4), sockets(), health);
        (any::<(usize, String, Vec<usize>)>(), duration(), addresses, paths, privileges()).prop_map(
            |((workers, title, cpus), grace, (sharing, endpoints, sockets, health), paths, privileges)| {
                let (control, pid_file, secret_files) = paths;
                UpgradePlan {
                    workers,
                    grace,
                    title,
                    sharing,
                    endpoints,
                    sockets,
                    health,
                    control,
                    pid_file,
                    secret_files,
                    privileges,
                    cpus,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn plan_round_trips_and_unknown_fields_change_nothing(plan in plan(), places in places()) {
            let line = plan.to_line();
            prop_assert!(!line.contains('\n') && UpgradePlan::is_one(&line));
            prop_assert_eq!(UpgradePlan::from_line(&line).unwrap(), plan.clone());
            prop_assert_eq!(UpgradePlan::from_line(&newer(&line, &places, false)).unwrap(), plan);
        }
    }

    proptest! {
        // Each case damages every byte.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn damaged_plan_is_refused(plan in plan(), xor in 1..=u8::MAX) {
            for line in damaged(&plan.to_line(), xor) {
                prop_assert!(UpgradePlan::from_line(&line).is_err(), "{}", line);
            }
        }
    }

    #[test]
    fn plan_with_incomplete_addresses_is_refused() {
        for fields in ["", "addr=:80 network=tcp4", "addr=:80 network=tcp4 at=tcp:0.0.0.0:80 addr=:81"] {
            let fields = format!("{} workers=1 grace_ms=1 sharing=shared {fields}", FORMAT.heading().kind());
            let error = UpgradePlan::from_line(&Format::write(&[Record::parse(&fields)])).unwrap_err();
            assert_eq!(error.to_string(), "the plan's addresses are incomplete", "{fields}");
        }
    }
}
