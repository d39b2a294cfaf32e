//! What a serve function is called with.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ExitCode, Termination};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::Socket;

#[cfg(feature = "tokio")]
use super::arguments::Argument;
use super::arguments::{self, FromChild};
use super::{ServeOptions, returned_error};
use crate::child::{ServeState, StartError, process_name};
use crate::listen::Listener;
use crate::logging::Logger;
use crate::tls::PemSource;

/// See the [module](self).
pub struct ServeContext {
    listeners: Mutex<Vec<Socket>>,
    pub(super) options: &'static ServeOptions,
    pub(super) state: Arc<ServeState>,
    logger: Logger,
}

impl fmt::Debug for ServeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServeContext").field("context", &self.state.context).finish_non_exhaustive()
    }
}

impl ServeContext {
    pub(super) fn new(
        listeners: Vec<Socket>,
        options: &'static ServeOptions,
        state: Arc<ServeState>,
        logger: Logger,
    ) -> Self {
        Self { listeners: Mutex::new(listeners), options, state, logger }
    }

    /// Records that the serve function is called next, and tells the master that this child is ready,
    /// unless the option `ready` leaves that to the server.
    pub(super) fn announce_ready(&self) {
        self.state.note_call();
        if !self.options.manual_ready {
            self.state.context.ready();
        }
    }

    /// The status of what the serve function has returned. Its error is logged; std prints it too.
    pub(super) fn status_of(&self, returned: impl Termination + 'static) -> ExitCode {
        if let Some(error) = returned_error::error_in(&returned) {
            let event = self.logger.event("serve_failed").printed();
            event.error(format_args!("{} has returned an error: {error}", process_name()));
        }
        returned.report()
    }

    pub(crate) fn listeners<L>(
        &self,
        make: impl FnOnce(Vec<Listener>) -> io::Result<L>,
    ) -> Result<L, StartError> {
        let sockets = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let listeners = sockets.into_iter().map(Listener::from_socket).collect::<io::Result<_>>();
        listeners.and_then(make).map_err(StartError::Listeners)
    }

    pub(crate) fn argument<T: FromChild>(&self) -> Result<T, StartError> {
        arguments::make(&self.state.context)
    }

    #[cfg(feature = "tokio")]
    pub(crate) async fn async_argument<T: Argument<How>, How>(&self) -> Result<T, StartError> {
        T::make(&self.state.context).await
    }

    pub(crate) fn cert_file(&self) -> Result<&'static Path, StartError> {
        file(self.options.tls.cert.as_ref())
    }

    pub(crate) fn key_file(&self) -> Result<&'static Path, StartError> {
        file(self.options.tls.key.as_ref())
    }

    pub(crate) fn cert_pem(&self) -> Result<&'static [u8], StartError> {
        embedded(self.options.tls.cert.as_ref())
    }

    pub(crate) fn key_pem(&self) -> Result<&'static [u8], StartError> {
        embedded(self.options.tls.key.as_ref())
    }
}

// The master compares the function with its options before it starts a child. A child of a newer program
// can still differ.
fn file(source: Option<&'static PemSource>) -> Result<&'static Path, StartError> {
    match source {
        Some(PemSource::File(path)) => Ok(path),
        Some(PemSource::Embedded(_)) | None => Err(StartError::NoTls("certificate and key files")),
    }
}

fn embedded(source: Option<&'static PemSource>) -> Result<&'static [u8], StartError> {
    match source {
        Some(PemSource::Embedded(pem)) => Ok(pem),
        Some(PemSource::File(_)) | None => Err(StartError::NoTls("an embedded certificate and key")),
    }
}
