//! A group with real sockets.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use super::*;
use crate::listen::{HeldSockets, Holding, Network};
use crate::skip::skipped;

fn open(addr: &str, network: Network, sharing: Sharing, slots: usize) -> Result<SocketGroup, Error> {
    let options = SocketOptions { backlog: Some(512), ..SocketOptions::default() };
    SocketGroup::open(&Endpoint::new(addr, Some(network)).resolved()?, sharing, slots, options, &[])
}

fn addr(group: &SocketGroup) -> SocketAddr {
    group.place.to_string().parse().unwrap()
}

#[test]
fn reuseport_group_admits_no_other_group_on_its_port() {
    if sys::SHARES_ONE_SOCKET {
        return skipped("reuseport-groups");
    }
    let group = |addr: &str| open(addr, Network::Tcp4, Sharing::Reuseport, 3);
    let first = group("127.0.0.1:0").unwrap();
    let addr = addr(&first);
    assert_eq!(first.sockets.len(), 3);
    let own = |socket: &Arc<Socket>| socket.local_addr().unwrap().as_socket();
    assert!(first.sockets.iter().all(|socket| own(socket) == Some(addr)));
    match group(&addr.to_string()) {
        Err(Error::Bind { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::AddrInUse),
        other => panic!("a second group joined the first: {other:?}"),
    }
}

#[test]
fn tcp_without_host_accepts_ipv4_and_ipv6() {
    let group = open(":0", Network::Tcp, Sharing::Shared, 4).unwrap();
    let port = addr(&group).port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    if addr(&group).is_ipv6() {
        TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
    }
}

/// A group of three sockets that can be steered.
fn steerable() -> Option<SocketGroup> {
    let group = open("127.0.0.1:0", Network::Tcp4, Sharing::Reuseport, 3).unwrap();
    if sys::SHARES_ONE_SOCKET || sys::steer(&group.sockets[0], &[0]).is_err() {
        return None;
    }
    sys::unsteer(&group.sockets[0]).unwrap();
    for socket in &group.sockets {
        socket.set_nonblocking(true).unwrap();
    }
    Some(group)
}

/// How many of 150 new connections each socket gets.
fn arrivals(group: &SocketGroup) -> Vec<usize> {
    let clients: Vec<_> = (0..150).map(|_| TcpStream::connect(addr(group)).unwrap()).collect();
    let counts: Vec<usize> = group.sockets.iter().map(accept_all).collect();
    drop(clients);
    counts
}

#[test]
fn refused_steering_is_reported_once_undone_and_tried_again() {
    let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
    group.steer_to(vec![0]).unwrap();
    // The program for so many gaps would be longer than the kernel allows.
    let many_gaps: Vec<usize> = (0..4096).map(|slot| slot * 2).collect();
    group.steer_to(many_gaps.clone()).unwrap_err();
    assert!(arrivals(&group).iter().all(|count| *count > 0), "the last program was detached");
    group.steer_to(many_gaps.clone()).unwrap();
    group.steer_to(vec![1]).unwrap();
    assert_eq!(arrivals(&group), [0, 150, 0]);
    group.steer_to(many_gaps.clone()).unwrap_err();
}

#[test]
fn socket_of_a_new_slot_gets_connections_once_its_child_is_live() {
    let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
    group.grow_to(3).unwrap();
    group.sockets[3].set_nonblocking(true).unwrap();
    let before = arrivals(&group);
    assert!(before[3] == 0 && before[..3].iter().all(|count| *count > 0), "{before:?}");
    group.steer_to(vec![0, 1, 2, 3]).unwrap();
    assert!(arrivals(&group).iter().all(|count| *count > 0));
    group.steer_to(vec![0, 1, 2]).unwrap();
}

#[test]
fn connections_are_steered_to_live_slots_only() {
    let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
    assert!(arrivals(&group).iter().all(|count| *count > 0), "the kernel spreads by itself");
    group.steer_to(vec![0, 2]).unwrap();
    let steered = arrivals(&group);
    assert_eq!((steered[1], steered[0] + steered[2]), (0, 150));
    assert!(steered[0] > 0 && steered[2] > 0);
    group.steer_to(vec![1]).unwrap();
    assert_eq!(arrivals(&group), [0, 150, 0]);
    group.steer_to(vec![0, 1, 2]).unwrap();
    assert!(arrivals(&group).iter().all(|count| *count > 0));
    // Without live slots, connections queue where the kernel puts them.
    group.steer_to(vec![0]).unwrap();
    group.steer_to(vec![]).unwrap();
    assert!(arrivals(&group).iter().all(|count| *count > 0));
}

#[test]
fn steering_follows_the_children_and_is_undone_after_a_grow_that_failed() {
    let Some(mut group) = steerable() else { return skipped("reuseport-groups") };
    let holders = Holders::default();
    let hold = |socket| holders.add(vec![Arc::downgrade(socket)], Holding::Live);
    let mut children: Vec<HeldSockets> = group.sockets.iter().map(hold).collect();
    for (how, targets) in [(Holding::Live, None), (Holding::Idle, Some(vec![0, 2])), (Holding::Live, None)] {
        children[1].set(how);
        for _ in 0..2 {
            group.steer(&holders).unwrap();
            assert_eq!(group.steering, targets.clone().map_or(Steering::Everywhere, Steering::Only));
        }
    }
    // The child of the new slot is not started: the sockets and the live ones among them are the same again.
    group.grow_to(3).unwrap();
    assert_eq!(group.steering, Steering::Only(vec![0, 1, 2]));
    group.close_unneeded(3, &holders);
    group.steer(&holders).unwrap();
    assert_eq!(group.steering, Steering::Everywhere);
}

fn accept_all(socket: &Arc<Socket>) -> usize {
    std::iter::from_fn(|| socket.accept().ok()).count()
}
