//! Turn one annotated function into a production server made of one master process and N child
//! processes that share a listening address.
//!
//! ```no_run
//! use std::io::{self, BufRead, BufReader, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//! use std::time::Duration;
//!
//! #[prefork::main(addr = "127.0.0.1:8080")]
//! fn serve(ln: TcpListener) {
//!     for stream in ln.incoming() {
//!         // An error of a connection is no reason to stop.
//!         if let Err(error) = stream.and_then(answer) {
//!             eprintln!("cannot serve a connection: {error}");
//!         }
//!     }
//! }
//!
//! fn answer(mut stream: TcpStream) -> io::Result<()> {
//!     stream.set_read_timeout(Some(Duration::from_secs(2)))?;
//!     for line in BufReader::new((&stream).take(16 * 1024)).lines() {
//!         if line?.is_empty() {
//!             break;
//!         }
//!     }
//!     stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
//! }
//! # fn example() { main(); }
//! ```
//!
//! The attribute [`main`](macro@main) keeps the function and adds a `main` that is one call into this
//! crate. What that call does depends on the process:
//!
//! ```text
//!                  your program, started by you
//!                 ┌────────────────────────────────┐
//!  TERM, INT ───▶ │ master                         │  binds the addresses, once
//!  HUP, USR2, …   │  owns every listening socket   │  starts, watches, replaces
//!                 │  runs the hooks                │  asleep in poll
//!                 └──┬────────────┬────────────┬───┘
//!                    │ socket pair│            │        handshake: slot, grace, listeners
//!               ┌────┴────┐  ┌────┴────┐  ┌────┴────┐
//!               │ child 0 │  │ child 1 │  │ child N │   the same program, executed again
//!               │ serve() │  │ serve() │  │ serve() │   accepts from a plain listener
//!               └─────────┘  └─────────┘  └─────────┘
//! ```
//!
//! - The **master** opens the listening socket (one that all children share, or with `reuseport` one
//!   for each slot) and starts a child in each slot. A child that exits is replaced on the same socket,
//!   whose queue of connections it inherits.
//! - A **child** is the same program with the same arguments. It takes its listener from the master and
//!   calls the function on its main thread. No code of this crate runs between `accept` and the function.
//! - **Stop** (TERM, INT or Ctrl-C to the master): new connections are refused, queued ones are accepted,
//!   and accepted ones are finished, without code in the server. What remains after the grace period is
//!   killed.
//! - **Reload** (HUP): slot by slot a new child is started, of the program that now has the name; when it
//!   is ready, the old one drains. **Upgrade** (USR2): the master's own program is replaced as well, with
//!   the same sockets, pid and children.
//! - **Scaling** (TTIN, TTOU): one slot more, one fewer.
//! - **Health**: systemd is notified and can pass sockets; with [`health`](Prefork::health) the master
//!   answers probes over HTTP, and tells Prometheus the fleet's metrics.
//! - A **dead master**: each child sees the end of file at once, runs `on_master_death`, drains and exits
//!   with status 1. No orphan keeps the port.
//!
//! Each child has its own memory. Counters, metrics and rate limiters of the whole fleet are in [`shared`]. Work that
//! is to be done once is the [leader's](Leadership).
//!
//! # Documentation
//!
//! The [guide] has a page for each subject: [serving](guide::serving), [options](guide::options),
//! [operations](guide::operations), [the leader](guide::leader), [shared values](guide::shared_values),
//! [metrics](guide::metrics), [logging](guide::logging), [platforms](guide::platforms) and
//! [migration from fasthttp's prefork](guide::from_fasthttp). In the reference, begin with
//! [`main`](macro@main) for the attribute, [`Prefork`] for the builder without the macro, [`Serve`] for
//! the serve function's arguments, and [`hooks`].
//!
//! # Features
//!
//! - `tokio`: `async` serve functions.
//! - `rustls`: a serve function may take an `Arc<rustls::ServerConfig>`, of `prefork::rustls`.
//! - `tokio-rustls`: both; an `async` serve function may take a `tokio_rustls::TlsAcceptor`.
//! - `tower`: `ConnectionCloseLayer`, for answers of a stopping child.
//! - `tracing`: messages as events of a `tracing` subscriber; a span around what a child serves.
//! - `config`: a configuration file in TOML, which a reload reads again.
//! - `metrics`: `shared::Recorder`, for what libraries count with the `metrics` facade.
//! - `landlock`: `landlock_read` and `landlock_write`, for children that see a part of the file system.
//!
//! # Crates in the public API
//!
//! Types of `log`, and with their features of `http` 1, `metrics` 0.24, `rustls` 0.23, `tokio` 1, `tokio-rustls` 0.26,
//! `tower-layer` 0.3, `tower-service` 0.3 and `tracing` 0.1, are part of this crate's API. An incompatible
//! version of one of them comes with an incompatible version of `prefork` only: when rustls 0.24 comes,
//! `prefork` moves to it in a minor release while it is at 0.x, and in a major release afterwards. Name the
//! types of rustls through `prefork::rustls` and `prefork::tokio_rustls`, and your program needs no
//! dependency on rustls. The program chooses the cryptography: see `Prefork::crypto_provider`.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod __private;
mod builder;
mod child;
#[cfg(feature = "tower")]
mod connection_close;
mod error;
#[cfg(test)]
mod explorer;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(doc)]
pub mod guide;
pub mod hooks;
mod json;
mod listen;
mod logging;
mod master;
mod one_process;
mod preload;
mod privileges;
mod protocol;
mod serve;
pub mod shared;
#[cfg(test)]
mod skip;
mod supervisor;
mod sync;
#[allow(unsafe_code)]
mod sys;
mod title;
mod tls;

pub use prefork_macros::main;
#[cfg(feature = "rustls")]
pub use rustls;
#[cfg(feature = "tokio-rustls")]
pub use tokio_rustls;

pub use prefork_options::ParseOptionError;

pub use crate::builder::{CpuAffinity, OptionValue, Prefork, Readiness};
pub use crate::child::{
    Busy, ChildContext, FairShare, LeaderTerm, Leadership, NextTerm, Shutdown, TermOver, is_child,
};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use crate::connection_close::{ConnectionClose, ConnectionCloseFuture, ConnectionCloseLayer};
pub use crate::error::{Error, Failure};
pub use crate::hooks::{Canary, CanaryGroup, CanaryVerdict};
pub use crate::listen::{Listener, Network};
pub use crate::logging::{ThisProcess, this_process};
pub use crate::master::FleetHandle;
pub use crate::preload::{NotPreloaded, Preloaded};
pub use crate::serve::{Async, Blocking, FromChild, FromListener, FromListeners, Serve};
#[cfg(feature = "tokio")]
pub use crate::serve::{AsyncFromChild, Runtime};
pub use crate::supervisor::{ChildState, ChildStatus, FleetState, FleetStatus, HoldStatus, WaitingSlot};
