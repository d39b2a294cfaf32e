//! Options of the listening sockets.

use std::time::Duration;

use prefork_options as options;
use prefork_options::FileMode;

use super::Prefork;
use super::values::{OptionValue, bad};
use crate::error::Error;
use crate::listen::{Network, SocketOptions};
use crate::sys;

/// # Where and how to listen
impl Prefork {
    /// Where to listen: `host:port`, `:port` (every address of the network), `[v6 address]:port`;
    /// port 0 lets the system choose one port for the fleet. `unix:/run/app.sock` is a Unix socket,
    /// `unix:@name` one with an abstract name (Linux only); with `network = "unix"` the prefix `unix:`
    /// is optional.
    ///
    /// The file of a Unix socket has the permissions of [`unix_mode`](Self::unix_mode) and the owner of
    /// [`unix_owner`](Self::unix_owner) from the start. A stale socket is replaced; a socket that another
    /// process listens on is an error. The master removes the file when the fleet stops, unless another
    /// file has taken its place.
    ///
    /// `systemd:name` is the socket of that name that the service manager opened for this program. If it
    /// opened sockets (`sd_listen_fds(3)`) and no address names one of them, they replace these addresses,
    /// all of them and in their order: the socket unit decides where to listen.
    ///
    /// Default: port 8080 of the loopback interface.
    pub fn addr(self, addr: impl AsRef<str>) -> Self {
        self.addrs([addr])
    }

    /// Several addresses for one fleet. The serve function takes a listener for each: as a tuple, or
    /// as `Vec<Listener>` ([`FromListeners`](crate::FromListeners)).
    ///
    /// ```no_run
    /// # use prefork::{Listener, Prefork};
    /// # fn serve(listeners: Vec<Listener>) {}
    /// Prefork::new(serve).addrs(["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock"]).run()?;
    /// # Ok::<(), prefork::Error>(())
    /// ```
    pub fn addrs(self, addrs: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let addrs: Vec<String> = addrs.into_iter().map(|addr| addr.as_ref().to_owned()).collect();
        self.put(&options::ADDR, addrs)
    }

    /// The network, as a [`Network`] or as `"tcp4"`, `"tcp6"`, `"tcp"` or `"unix"`. Default: tcp4, or
    /// tcp6 if the address is an IPv6 literal.
    pub fn network(self, network: impl OptionValue<Network>) -> Self {
        self.set(&options::NETWORK, network)
    }

    /// Whether each slot has a listening socket of its own; the kernel spreads new connections over them.
    /// Default: no, all children accept from one socket; on Windows yes, where `false` is
    /// [`Error::OnlyReuseportOnWindows`]. A Unix socket is always shared.
    pub fn reuseport(self, reuseport: bool) -> Self {
        self.put(&options::REUSEPORT, reuseport)
    }

    /// Number of connections that may wait to be accepted. Default: the system's maximum.
    pub fn backlog(self, backlog: u32) -> Self {
        self.put(&options::BACKLOG, backlog)
    }

    /// Whether connections send small segments at once (`TCP_NODELAY`, set on the listener and inherited
    /// by accepted connections). Default: no.
    pub fn nodelay(self, nodelay: bool) -> Self {
        self.put(&options::NODELAY, nodelay)
    }

    /// Idle time after which the kernel probes whether the other end of a connection is alive
    /// (`SO_KEEPALIVE`, `TCP_KEEPIDLE`; inherited from the listener), from 1 s to 32,767 s. Default: no
    /// probes.
    pub fn keepalive(self, idle: impl OptionValue<Duration>) -> Self {
        self.set(&options::KEEPALIVE, idle)
    }

    /// `accept` returns a connection only when its first data has arrived, or after about this time
    /// (`TCP_DEFER_ACCEPT`, Linux only), at least 1 s. Default: `accept` returns it at once.
    pub fn defer_accept(self, limit: impl OptionValue<Duration>) -> Self {
        self.set(&options::DEFER_ACCEPT, limit)
    }

    /// Accepts data with the first packet of up to so many pending connections, from clients that have
    /// connected before (`TCP_FASTOPEN`, Linux only; needs bit 2 of `net.ipv4.tcp_fastopen`). Such data
    /// may arrive twice, so requests must be repeatable. Default: off.
    pub fn fastopen(self, queue: u32) -> Self {
        self.put(&options::FASTOPEN, queue)
    }

    /// The permissions of a Unix socket's file, such as `0o660` or `"660"`: who may connect. Default:
    /// those that the process's umask allows.
    pub fn unix_mode(self, mode: impl OptionValue<FileMode>) -> Self {
        self.set(&options::UNIX_MODE, mode)
    }

    /// The owner of a Unix socket's file: `"user"`, `"user:group"` or `":group"`, by name or number.
    /// Changing the user needs root. Default: the user of the master.
    pub fn unix_owner(self, owner: impl AsRef<str>) -> Self {
        self.put(&options::UNIX_OWNER, owner.as_ref().to_owned())
    }

    /// Address of the health endpoint, which the master serves over HTTP: `/livez`, whether the
    /// supervisor's loop runs; `/readyz`, whether the fleet has started, serves, and was not asked to
    /// stop; `/status`, the state of the fleet in JSON; `/metrics`, its metrics for Prometheus. Every client
    /// that can connect is answered: there is no authentication. Default: no endpoint.
    pub fn health(self, addr: impl AsRef<str>) -> Self {
        self.put(&options::HEALTH, addr.as_ref().to_owned())
    }

    /// The options of the listening sockets, as the runtime takes them; the owner of Unix sockets is
    /// [`resolve_unix_owner`](Self::resolve_unix_owner)'s.
    pub(super) fn socket_options(&self) -> SocketOptions {
        let mut sockets = SocketOptions {
            backlog: self.get::<u32>(&options::BACKLOG).and_then(|backlog| i32::try_from(backlog).ok()),
            nodelay: self.get_or_default(&options::NODELAY),
            keepalive: self.get(&options::KEEPALIVE),
            defer_accept: self.get(&options::DEFER_ACCEPT),
            fastopen: self.get(&options::FASTOPEN),
            ..SocketOptions::default()
        };
        sockets.file.mode = self.get(&options::UNIX_MODE).map(|FileMode(mode)| mode);
        sockets
    }

    /// Looks up the owner of Unix sockets' files.
    pub(super) fn resolve_unix_owner(&self, sockets: &mut SocketOptions) -> Result<(), Error> {
        let Some(value) = self.get::<String>(&options::UNIX_OWNER) else { return Ok(()) };
        let option = || self.name_of(&options::UNIX_OWNER);
        let lookup = |source| Error::Privileges { attempt: format!("look up the owner {value}"), source };
        let (user, group) = value.split_once(':').unwrap_or((&value, ""));
        if !user.is_empty() {
            let found = sys::find_user(user).map_err(lookup)?.map(|found| found.uid);
            // A number needs no entry.
            let uid = found.or_else(|| user.parse().ok());
            let unknown = || bad(option(), &value, format!("a user of this system; there is no `{user}`"));
            sockets.file.user = Some(uid.ok_or_else(unknown)?);
        }
        if !group.is_empty() {
            let unknown = || bad(option(), &value, format!("a group of this system; there is no `{group}`"));
            let gid = sys::find_group(group).map_err(lookup)?;
            sockets.file.group = Some(gid.ok_or_else(unknown)?);
        }
        Ok(())
    }
}
