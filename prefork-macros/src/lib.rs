//! The `#[prefork::main]` attribute. Use it through the `prefork` crate, which re-exports it and
//! brings what the generated code calls.

#![forbid(unsafe_code)]

mod address;
mod args;
mod check;
mod expand;
mod options;
mod report;
mod signature;
mod value;

use proc_macro::TokenStream;

/// Turns a serve function into a program of one master process and a fleet of children.
///
/// ```ignore
/// use std::io::{self, Write};
/// use std::net::TcpListener;
///
/// #[prefork::main(addr = "127.0.0.1:8080", network = "tcp4", reuseport, recover = 5)]
/// fn serve(ln: TcpListener) -> io::Result<()> {
///     for stream in ln.incoming() {
///         stream?.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?;
///     }
///     Ok(())
/// }
/// ```
///
/// The attribute keeps the function as it is and adds a `main` beside it, which is one call into
/// the runtime: the master binds the address, starts the children, and replaces those that fail;
/// each child calls the function with the listener that it was handed.
///
/// # The serve function
///
/// It has any name (also `main`), any visibility and any other attributes, and returns what `fn
/// main` may return. It is not generic, not `unsafe`, and not a method. It takes, in this order:
///
/// 1. The listener: a `std::net::TcpListener`, or a `std::os::unix::net::UnixListener` for a Unix
///    socket. An `async fn`, with the feature `tokio`, takes tokio's; the runtime is started in each
///    child, so that no `#[tokio::main]` is needed, or allowed. With several addresses the argument is
///    a tuple of listeners in their order, or a `Vec<prefork::Listener>`.
/// 2. For TLS, certificate and key, always in this order: `cert: &Path, key: &Path` with the options
///    `cert` and `key`, or `cert: &[u8], key: &[u8]` with `cert_pem` and `key_pem`. Or it leaves both
///    to prefork, and takes an `Arc<rustls::ServerConfig>` among what follows (feature `rustls`).
/// 3. Whatever else it wants to know, in any order: `prefork::Shutdown` (the signal to stop),
///    `prefork::ChildContext` (which child this is), `Arc<rustls::ServerConfig>` (feature `rustls`) or
///    `tokio_rustls::TlsAcceptor` (feature `tokio-rustls`), or any other type that the runtime's argument
///    trait is implemented for.
///
/// ```ignore
/// #[prefork::main(addr = ":8443", cert = "cert.pem", key = "key.pem", runtime = "multi_thread")]
/// async fn serve(
///     ln: tokio::net::TcpListener,
///     cert: &std::path::Path,
///     key: &std::path::Path,
///     shutdown: prefork::Shutdown,
/// ) -> Result<(), Box<dyn std::error::Error>> {
///     // …
/// }
/// ```
///
/// # Options
///
/// Options are separated by commas and set with `=`. Every value is a literal, which is checked when
/// the program is compiled, or any expression of the right type, which is evaluated when it starts.
/// An option that is left out can be set by the environment (`PREFORK_` and its name in capitals,
/// where it is an operator's business), and else has its default.
///
/// | option | values | meaning | default |
/// |---|---|---|---|
/// | `addr = "127.0.0.1:8080"` | `"host:port"`, `":port"` (every interface), `"[v6 address]:port"`; port 0 is any free one; `"unix:/path"`, on Linux `"unix:@name"`; `"systemd:name"` for a socket of the service manager's; several in brackets | where to listen | port 8080 of the loopback interface |
/// | `network = "tcp4"` | `"tcp4"`, `"tcp6"` (IPv6 only), `"tcp"` (both, if no host is given), `"unix"` (the address is a path), or a `prefork::Network` | which IP versions, or a Unix socket | `"tcp4"` |
/// | `reuseport` | nothing, or a `bool` | a socket for each child, which the kernel spreads connections over, in place of one that all share | off |
/// | `workers = 4` | 1 to 4096 | how many children | one per available core |
/// | `recover = 5` | a `u32` | how many failed children are replaced before the fleet is given up | 5 within 60 s |
/// | `recover_window = "60s"` | a duration above zero | count only the failures of this last stretch of time | the program's whole life if `recover` is given, else 60 s |
/// | `recover_interval = "1s"` | a duration | how long to wait before a child is replaced | not at all, unless children fail again and again |
/// | `shutdown_grace = "5s"` | a duration | how long a child may take to stop before it is killed | 5 s |
/// | `start_timeout = "60s"` | a duration above zero | how long a child may take to become ready before it is killed, and has failed | 60 s |
/// | `ready = "manual"` | `"auto"`, `"manual"`, or a `prefork::Readiness` | whether a child is ready when its serve function is about to be called, or when it calls `ChildContext::ready` | `"auto"` |
/// | `stop_delay = "10s"` | a duration | how long the fleet goes on accepting after it was asked to stop, for load balancers that notice late | not at all |
/// | `reload_parallel = 2` | 1 to 4096 | how many children a reload replaces at the same time | 1 |
/// | `max_lifetime = "24h"` | a duration above zero | how old a child may become before it is replaced, new before old | any age |
/// | `max_rss = "512MiB"` | a size above zero: bytes, or text | how much memory a child may occupy before it is replaced, new before old | any amount |
/// | `hang_timeout = "30s"` | a duration of 100 ms or more | how long a child may fail to get on with its work before it is taken to hang, and fails | for ever |
/// | `health = "127.0.0.1:9090"` | as `addr` | where the master answers `/livez`, `/readyz` and `/status` over HTTP | nowhere |
/// | `backlog = 1024` | 1 to 2147483647 | how many connections may wait to be accepted | the system's maximum |
/// | `nodelay` | nothing, or a `bool` | connections send small pieces at once (`TCP_NODELAY`) | off |
/// | `keepalive = "60s"` | 1 s to 9 h | how long a connection may be silent until the system asks whether its other end is there | it never asks |
/// | `defer_accept = "5s"` | a duration of 1 s or more | `accept` has a connection only when its first data is there, for which it waits about this long (Linux) | at once |
/// | `fastopen = 256` | 1 to 2147483647 | how many connections at a time may bring data with their first packet (Linux) | none |
/// | `unix_mode = 0o660` | a file mode, as a number or as text | who may connect to a Unix socket | what the process's mask leaves |
/// | `unix_owner = "www-data"` | `"user"`, `"user:group"` or `":group"` | the owner of a Unix socket's file | whoever runs the master |
/// | `cert = "cert.pem"` | the name of a file; goes with `key` | the TLS certificate | no TLS |
/// | `key = "key.pem"` | the name of a file; goes with `cert` | the certificate's private key | no TLS |
/// | `cert_pem = include_bytes!("cert.pem")` | bytes; goes with `key_pem` | the TLS certificate, part of the program | no TLS |
/// | `key_pem = include_bytes!("key.pem")` | bytes; goes with `cert_pem` | the certificate's private key, part of the program | no TLS |
/// | `title = "app"` | text; `""` for none | what `ps` and `top` show: `app: master`, `app: child 3` | the program's name |
/// | `user = "www-data"` | a name, or a number | the user that children run as; the master stays root | the master's |
/// | `group = "www-data"` | a name, or a number; goes with `user` | their primary group | the user's own |
/// | `no_new_privs` | nothing, or a `bool` | whether the programs that children execute may have no more privileges than the children (Linux) | off |
/// | `cpu_affinity = "auto"` | `"auto"`, a list such as `"0-3,8"`, or a `prefork::CpuAffinity` | pins each child to one of these CPUs, the i-th to the i-th (Linux) | any CPU |
/// | `nice = 5` | -20 to 19 | the priority of children | the master's |
/// | `rlimit_nofile = 65536` | 16 to 1073741824 | how many files and sockets a child may have open | the master's limit |
/// | `landlock_read = ["/etc/ssl"]` | paths | all that children can open to read, but for the next (Linux, feature `landlock`) | everything |
/// | `landlock_write = ["/var/lib/app"]` | paths | all that children can open to write (Linux, feature `landlock`) | everything |
/// | `client_ca = "ca.pem"` | the name of a file | who vouches for clients, which then have to show a certificate; for functions that take an `Arc<rustls::ServerConfig>` | clients show nothing |
/// | `client_ca_pem = include_bytes!("ca.pem")` | bytes | the same, part of the program | clients show nothing |
/// | `alpn = ["h2", "http/1.1"]` | names in an array | what is spoken over TLS, the most wanted first; for functions that take an `Arc<rustls::ServerConfig>` | `h2` and `http/1.1` |
/// | `on_master_death = f` | `Fn()` | runs in a child whose master is gone | the child drains and exits with 1 |
/// | `on_child_spawn = f` | `Fn(u32)` | runs in the master after each start of a child, with its pid | nothing |
/// | `on_master_ready = f` | `Fn(&[u32])` | runs in the master once, when all children are ready, with their pids | nothing |
/// | `on_child_recover = f` | `Fn(u32, u32)` | runs in the master when a child has been replaced, with the old pid and the new | nothing |
/// | `command_producer = f` | `Fn(Command) -> io::Result<Child>` | starts a child from a command that is complete | `Command::spawn` |
/// | `logger = l` | any `log::Log` | where the runtime's own messages go | the installed `log` logger, else the standard error of the master |
/// | `init = f` | `FnOnce()` | runs first, in the master and in every child: set up logging, read arguments | nothing |
/// | `runtime = "current_thread"` | `"current_thread"`, `"multi_thread"`, or a `prefork::Runtime` | how tokio runs an `async fn`, in each child | `"current_thread"` |
/// | `crate = path` | the path of a crate or module | where generated code finds the runtime | `::prefork` |
///
/// A duration is a string such as `"250ms"`, `"5s"` or `"2m"`, or a `std::time::Duration`; a string
/// is at most 365 days. A function is a path, a closure or an expression of such a type. `init` and
/// the hooks may return nothing or a `Result`, whose error stops the fleet.
///
/// # Errors
///
/// All mistakes in options and signature are reported at once, each where it was made. Whether a
/// type fits is for the compiler to say, which points at the type or value in question.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}
