//! Turn one annotated function into a production server made of one master process and N child
//! processes that share a listening address.
//!
//! ```no_run
//! use std::io::{Read, Write};
//! use std::net::TcpListener;
//!
//! #[prefork::main(addr = "127.0.0.1:8080", network = "tcp4", reuseport, recover = 5)]
//! fn serve(ln: TcpListener) -> std::io::Result<()> {
//!     for stream in ln.incoming() {
//!         let mut stream = stream?;
//!         let mut request = [0; 1024];
//!         let _ = stream.read(&mut request)?;
//!         stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")?;
//!     }
//!     Ok(())
//! }
//! # fn example() { main(); }
//! ```
//!
//! The attribute keeps the function and adds a `main` that is one call into this crate. What that
//! call does depends on the process it is made in:
//!
//! ```text
//!                 your program, started by you
//!                ┌──────────────────────────────────┐
//!  TERM, INT ──▶ │ master                           │   binds the address, once
//!  HUP, USR2, …  │   owns every listening socket    │   starts, watches, replaces
//!                │   runs the hooks, serves nothing │   one thread, asleep in poll
//!                └──┬────────────┬───────────────┬──┘
//!      socket pair  │            │               │     ▼ slot, grace, listener
//!      (child's     │            │               │     ▲ "here", "ready"
//!       stdin)      │            │               │     end of file: the other one is dead
//!                ┌──┴──────┐ ┌───┴─────┐     ┌───┴─────┐
//!                │ child 0 │ │ child 1 │  …  │ child N │   the same program, executed again
//!                │ serve() │ │ serve() │     │ serve() │   accept() on a plain listener
//!                └─────────┘ └─────────┘     └─────────┘
//!                      ▲           ▲               ▲
//!                      └───────────┴── clients ────┘      nothing of ours on the request path
//! ```
//!
//! - The **master** opens the listening socket (one that all share, or with `reuseport` one for
//!   each slot), starts a child for each slot and waits. A child that ends is replaced by another on
//!   the same socket, whose queue of waiting connections it inherits.
//! - A **child** is the same program with the same arguments. It takes its listener from the master,
//!   says that it is ready and calls your function on its main thread. One more thread sleeps until
//!   the master wants a stop or dies.
//! - **Stopping** (TERM, INT or Ctrl-C to the master): the master lets nobody connect any more, waits a
//!   moment until the children have accepted what has queued, closes its listeners and sends TERM to the
//!   children. A child takes no new connection, serves what it has accepted to the end, and exits, all
//!   without the server's knowledge; after the grace period it is killed.
//! - **Reloading** (HUP): slot by slot a new child is started, of whatever program has the name now;
//!   when it is ready the old one drains. **Upgrading** (USR2): once such a child is ready, the master
//!   executes the new program in its own process, with the same sockets, pid and children.
//! - **Scaling** (TTIN, TTOU): one child more, one fewer; nothing queued is lost.
//! - **Watched from outside**: systemd is told what the fleet is at and passes sockets to it; with
//!   [`health`](Prefork::health) whoever asks over HTTP learns whether it is live and ready.
//! - A **dead master**: each child sees the end of file at once, runs `on_master_death`, drains and
//!   exits with 1. No orphan keeps the port.
//!
//! Everything in your program's `main` before the split would run in each of these processes; with
//! the attribute there is nothing there. Each child has its own memory: a counter, a cache or a rate
//! limiter in a `static` counts for its child only.
//!
//! The options are described at [`main`], the builder without the macro at [`Prefork`], the serve
//! function's arguments at [`Serve`], the hooks at [`hooks`].
//!
//! # Features
//!
//! - `tokio`: `async` serve functions.
//! - `rustls`: a serve function may take an `Arc<rustls::ServerConfig>`, of `prefork::rustls`.
//! - `tokio-rustls`: both of them; an `async` serve function may take a `tokio_rustls::TlsAcceptor`.
//! - `tracing`: messages as events of a `tracing` subscriber; a span around what a child serves.
//! - `landlock`: `landlock_read` and `landlock_write`, for children that see a part of the file system.
//!
//! # Crates in the public API
//!
//! Types of `log`, and with their features of `rustls` 0.23, `tokio` 1, `tokio-rustls` 0.26 and
//! `tracing` 0.1, are part of this crate's API. An incompatible version of one of them comes with an
//! incompatible version of `prefork` only. Name the types of rustls through `prefork::rustls` and
//! `prefork::tokio_rustls`, and your program needs no version of its own. The cryptography is the
//! program's choice: see `Prefork::crypto_provider`.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(hidden)]
pub mod __private;
mod builder;
mod child;
mod error;
pub mod hooks;
mod listen;
mod logging;
mod master;
mod privileges;
mod protocol;
mod serve;
#[cfg(test)]
mod skip;
mod supervisor;
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
pub use crate::child::{Busy, ChildContext, Shutdown, is_child};
pub use crate::error::{Error, Failure};
pub use crate::listen::{Listener, Network};
pub use crate::logging::{ThisProcess, this_process};
pub use crate::master::FleetHandle;
pub use crate::serve::{Async, Blocking, FromChild, FromListener, FromListeners, Serve};
#[cfg(feature = "tokio")]
pub use crate::serve::{AsyncFromChild, Runtime};
pub use crate::supervisor::{ChildState, ChildStatus, FleetState, FleetStatus};
