//! Options of the listening sockets.

use std::ops::RangeInclusive;

use super::{OptionValue, Prefork};
use crate::listener::Network;

/// `listen` takes a C `int`.
pub(super) const BACKLOGS: RangeInclusive<u32> = 1..=i32::MAX as u32;

/// # Where and how to listen
impl Prefork {
    /// Where to listen: `host:port`, `:port` (every address of the network), `[v6 address]:port`;
    /// port 0 lets the system choose one port for the fleet.
    ///
    /// Default: port 8080 of the loopback interface.
    pub fn addr(mut self, addr: impl AsRef<str>) -> Self {
        self.note_author("addr");
        self.addr = Some(addr.as_ref().to_owned());
        self
    }

    /// The network, as a [`Network`] or as `"tcp4"`, `"tcp6"` or `"tcp"`. Default: tcp4, or tcp6 if
    /// the address is an IPv6 literal.
    pub fn network(mut self, network: impl OptionValue<Network>) -> Self {
        self.network = self.read("network", network).or(self.network);
        self
    }

    /// Whether each slot has a socket of its own, over which the kernel spreads new connections.
    /// Default: no, all children accept from one. Windows has this mode only.
    pub fn reuseport(mut self, reuseport: bool) -> Self {
        self.reuseport = self.read("reuseport", reuseport).unwrap_or(self.reuseport);
        self
    }

    /// How many connections may wait to be accepted. Default: the system's maximum.
    pub fn backlog(mut self, backlog: u32) -> Self {
        self.backlog = self.read_in("backlog", backlog, BACKLOGS).or(self.backlog);
        self
    }
}
