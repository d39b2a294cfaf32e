//! The sockets of the next program: prepared before the exec, described for it, and taken over by it.

use std::io;
use std::sync::Arc;

use socket2::Socket;

use super::group::SocketGroup;
use super::{Endpoint, ResolvedEndpoint, Sharing, SocketOptions, SocketSet};
use crate::error::Error;

/// The addresses of the next program, in its order. Dropping it closes what was opened for it, and removes the
/// files of its Unix sockets.
#[derive(Debug)]
pub(crate) struct Arrangement {
    addresses: Vec<Arranged>,
}

#[derive(Debug)]
enum Arranged {
    /// An address of this program, by its place among the present and the leaving ones.
    Kept { place: usize, endpoint: Endpoint, sharing: Sharing },
    /// Opened for one slot: the further sockets follow with the other slots' children.
    New(Box<SocketGroup>),
}

/// Every listening socket, as described to the program that takes over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PassedSet {
    pub(crate) sockets: Vec<PassedSockets>,
    /// Those of the addresses that the program does not have.
    pub(crate) leaving: Vec<PassedSockets>,
}

/// The sockets of one address, as described to the program that takes them over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PassedSockets {
    pub(crate) endpoint: Endpoint,
    pub(crate) sharing: Sharing,
    /// Their positions among the listeners that are handed over, in the order of the slots.
    pub(crate) listeners: Vec<usize>,
    /// Device and inode of the file of a Unix socket.
    pub(crate) file: Option<(u64, u64)>,
}

impl SocketSet {
    /// Prepares the addresses of the next program: those in both keep their sockets, new ones are opened. The
    /// sockets of the others, and `beside`, leave: they let a new socket listen on the address that they have.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); nothing is changed then.
    pub(crate) fn arrange(
        &self,
        wanted: &[ResolvedEndpoint],
        sharing: Sharing,
        options: SocketOptions,
        beside: &[&Socket],
    ) -> Result<Arrangement, Error> {
        let groups: Vec<&SocketGroup> = self.all().collect();
        let mut left: Vec<usize> = (0..groups.len()).collect();
        let mut keep = |resolved: &ResolvedEndpoint| {
            let found = left.iter().position(|place| groups[*place].is_at(resolved))?;
            Some(left.remove(found))
        };
        let kept: Vec<Option<usize>> = wanted.iter().map(&mut keep).collect();
        let leaving = left.iter().flat_map(|place| &groups[*place].sockets).map(|socket| &**socket);
        let leaving: Vec<&Socket> = leaving.chain(beside.iter().copied()).collect();
        let arrange = |(resolved, kept): (&ResolvedEndpoint, Option<usize>)| match kept {
            Some(place) => {
                let sharing = groups[place].sharing_for(sharing);
                groups[place].check_sharing(sharing)?;
                Ok(Arranged::Kept { place, endpoint: resolved.endpoint.clone(), sharing })
            }
            None => {
                let opened = SocketGroup::open(resolved, sharing, 1, options, &leaving)?;
                Ok(Arranged::New(Box::new(opened)))
            }
        };
        let addresses = wanted.iter().zip(kept).map(arrange).collect::<Result<_, _>>()?;
        Ok(Arrangement { addresses })
    }

    /// The sockets of the addresses that the next program does not have.
    pub(crate) fn leaving_after(&self, arrangement: &Arrangement) -> impl Iterator<Item = &Socket> {
        let is_kept = |place| {
            arrangement
                .addresses
                .iter()
                .any(|one| matches!(one, Arranged::Kept { place: kept, .. } if *kept == place))
        };
        let left: Vec<_> = self.all().enumerate().filter(|(place, _)| !is_kept(*place)).collect();
        left.into_iter().flat_map(|(_, group)| &group.sockets).map(|socket| &**socket)
    }

    /// The sockets that a child in slot 0 accepts from, in the order of the next program.
    pub(crate) fn of_first_slot(&self, arrangement: &Arrangement) -> io::Result<Vec<Arc<Socket>>> {
        let groups: Vec<&SocketGroup> = self.all().collect();
        let closed = || io::Error::other("the listeners are closed");
        let first = |arranged: &Arranged| match arranged {
            Arranged::Kept { place, .. } => groups.get(*place)?.sockets.first().cloned(),
            Arranged::New(group) => group.sockets.first().cloned(),
        };
        arrangement.addresses.iter().map(|arranged| first(arranged).ok_or_else(closed)).collect()
    }

    /// A description for the next program, and the sockets in the order of their positions there.
    pub(crate) fn passed<'a>(&'a self, arrangement: &'a Arrangement) -> (PassedSet, Vec<&'a Arc<Socket>>) {
        let groups: Vec<&SocketGroup> = self.all().collect();
        let mut all = Vec::new();
        let mut describe = |group: &'a SocketGroup, endpoint: &Endpoint, sharing: Sharing| {
            let from = all.len();
            all.extend(&group.sockets);
            let (endpoint, listeners) = (endpoint.clone(), (from..all.len()).collect());
            PassedSockets { endpoint, sharing, listeners, file: group.file_identity() }
        };
        let mut passed = PassedSet::default();
        let mut left: Vec<usize> = (0..groups.len()).collect();
        for arranged in &arrangement.addresses {
            passed.sockets.push(match arranged {
                Arranged::Kept { place, endpoint, sharing } => {
                    left.retain(|other| other != place);
                    describe(groups[*place], endpoint, *sharing)
                }
                Arranged::New(group) => describe(group, &group.endpoint, group.sharing),
            });
        }
        let leaving = left.into_iter().map(|place| groups[place]);
        passed.leaving = leaving.map(|group| describe(group, &group.endpoint, group.sharing)).collect();
        (passed, all)
    }

    /// Takes its sockets out of the listeners that another program handed over.
    pub(crate) fn adopt(
        passed: &PassedSet,
        listeners: &[Arc<Socket>],
        options: SocketOptions,
    ) -> io::Result<Self> {
        let missing = || io::Error::other("a listener was not handed over");
        let take = |number: &usize| listeners.get(*number).cloned().ok_or_else(missing);
        let adopt = |passed: &PassedSockets| {
            let PassedSockets { endpoint, sharing, listeners, file } = passed;
            let sockets = listeners.iter().map(take).collect::<io::Result<_>>()?;
            SocketGroup::adopt(endpoint.clone(), *sharing, sockets, *file, options)
        };
        let leave = |passed| {
            let mut group = adopt(passed)?;
            group.leaves = true;
            Ok(group)
        };
        Ok(Self {
            groups: passed.sockets.iter().map(adopt).collect::<io::Result<_>>()?,
            leaving: passed.leaving.iter().map(leave).collect::<io::Result<_>>()?,
            options_refused: false,
        })
    }
}
