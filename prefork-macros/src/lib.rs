//! The `#[prefork::main]` attribute. Use it through the `prefork` crate, which re-exports it and contains
//! the functions that generated code calls.

#![forbid(unsafe_code)]

mod args;
mod diagnostics;
mod expand;
#[cfg(test)]
mod fuzzing;
mod literal;
mod rules;
mod signature;

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
///         // An error of a connection must not end the child.
///         let _ = stream.and_then(|mut stream| stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"));
///     }
///     Ok(())
/// }
/// ```
///
/// The attribute keeps the function as it is and adds a `main`, which is one call into the runtime: the
/// master binds the address, starts the children, and replaces those that fail; each child calls the
/// function with the listener that the master handed over.
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
///    `cert` and `key`, or `cert: &[u8], key: &[u8]` with `cert_pem` and `key_pem`. A function that takes
///    an `Arc<rustls::ServerConfig>` (feature `rustls`) needs neither.
/// 3. Further arguments, in any order: `prefork::Shutdown` (the signal to stop), `prefork::ChildContext`
///    (which child this is), `Arc<rustls::ServerConfig>` (feature `rustls`),
///    `tokio_rustls::TlsAcceptor` (feature `tokio-rustls`), or any type that implements
///    `prefork::FromChild` or, in an `async fn`, `prefork::AsyncFromChild`.
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
/// Options are separated by commas and set with `=`. A value is a literal, which is checked at compile
/// time, or any expression of the right type, which is evaluated when the program starts.
///
#[doc = include_str!("../docs/options.md")]
///
/// A function is a path, a closure or an expression of such a type. `init` and the hooks may return
/// nothing or a `Result`, whose error stops the fleet.
///
/// # Errors
///
/// All mistakes in options and signature are reported at once, each at its place. The compiler checks the
/// types of arguments and values, and points at the type or value.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(args.into(), item.into()).into()
}
