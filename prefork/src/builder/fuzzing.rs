//! Bodies of fuzz targets: what an operator or a program writes as the value of an option.

use std::collections::BTreeMap;
use std::env::VarError;
use std::ffi::OsString;
use std::net::TcpListener;

use prefork_options::address::{self, Address, Host};
use prefork_options::{CpuAffinity, Kind, OPTIONS, OptionRow, Value, WORKERS_MAX};

use super::Prefork;
#[cfg(feature = "config")]
pub(crate) use super::config::fuzzing::config;
use super::values::refusal;
use crate::error::chain;
use crate::fuzzing::assert_one_line;
use crate::listen::{Endpoint, Network};
use crate::sys;

/// A text as the value of every option, and as an address.
pub(crate) fn values(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for row in OPTIONS {
        match row.kind.parse(&text) {
            Ok(value) => assert_value(row, &value, text.len()),
            Err(problem) => assert_one_line(&chain(&refusal(row.name, row, &text, &problem))),
        }
    }
    for network in [None, Some(Network::Tcp4), Some(Network::Tcp6), Some(Network::Tcp), Some(Network::Unix)] {
        match address::parse(&text, network) {
            Ok(address) => assert_address(&text, network, &address),
            Err(reason) => assert_one_line(&reason),
        }
        if let Err(error) = Endpoint::new(&text, network).check_form() {
            assert_one_line(&chain(&error));
        }
    }
}

/// The value is in bounds, is the same after it was spelt, and is not much longer than its text.
fn assert_value(row: &OptionRow, value: &Value, length: usize) {
    assert_eq!(row.kind.check(value), Ok(()), "{row:?}: {value:?}");
    if let Value::Cpus(CpuAffinity::Cpus(cpus)) = value {
        assert!(cpus.len() <= WORKERS_MAX as usize, "{} CPUs of {length} bytes", cpus.len());
    }
    let round_trips = match row.kind {
        Kind::Mode | Kind::Addrs | Kind::Protocols | Kind::Files | Kind::Pem => false,
        // The text is its own spelling.
        _ => true,
    };
    if round_trips {
        assert_eq!(row.kind.parse(&value.spell()).as_ref(), Ok(value), "{row:?}");
    }
}

/// The address can be used on the network that it stands for.
fn assert_address(text: &str, network: Option<Network>, address: &Address) {
    let endpoint = Endpoint::new(text, network);
    assert_eq!(endpoint.is_activated(), matches!(address, Address::Systemd(_)), "{text:?}");
    let is_unix = matches!(address, Address::Path(_) | Address::Abstract(_));
    assert_eq!(endpoint.network == Network::Unix, is_unix, "{text:?}");
    assert!(endpoint.check_form().is_ok(), "{text:?}");
    if let Address::Tcp(tcp) = address {
        let written = match &tcp.host {
            Host::Ip(ip) => std::net::SocketAddr::new(*ip, tcp.port).to_string(),
            _ => return,
        };
        assert_eq!(address::parse(&written, network).as_ref(), Ok(address), "{text:?}");
    }
}

/// Environment variables: a line for each, `NAME=value`. A NUL byte in a value stands for a line break.
pub(crate) fn environment(data: &[u8]) {
    let mut variables = BTreeMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b'=');
        let name = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
        let value: Vec<u8> = parts.next().unwrap_or_default().to_vec();
        let value = value.into_iter().map(|byte| if byte == 0 { b'\n' } else { byte }).collect();
        variables.insert(name, sys::os_string(value));
    }
    let read = |name: &str| {
        let value: OsString = variables.get(name).cloned().flatten().ok_or(VarError::NotPresent)?;
        value.into_string().map_err(VarError::NotUnicode)
    };
    let fleet = Prefork::new(|_: TcpListener| {}).with_variables(read);
    for name in variables.keys() {
        // A reason is logged, which makes it one line.
        let _ = fleet.idle_variable(name);
    }
    for row in super::environment::variables() {
        if let Some((_, value)) = fleet.values.get(row) {
            assert_eq!(row.kind.check(value), Ok(()), "{row:?}: {value:?}");
        }
    }
    for error in fleet.problems.into_errors() {
        assert_one_line(&chain(&error));
    }
}
