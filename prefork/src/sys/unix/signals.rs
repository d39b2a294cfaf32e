//! Signals as a readable socket, and scopes without them.

use std::io;
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

pub(super) type Signals = SignalDelivery<UnixStream, SignalOnly>;

/// Collects `signals` on a self-pipe, whatever mask and dispositions were inherited.
pub(super) fn listen_for(signals: &[i32]) -> io::Result<Signals> {
    let (read, write) = UnixStream::pair()?;
    let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
    let mut mask = SigSet::empty();
    for signal in signals {
        mask.add(Signal::try_from(*signal)?);
    }
    mask.thread_unblock()?;
    Ok(delivery)
}

/// From now on the signals that are requests to a master do nothing in this process. A program that it
/// executes has them with their default effect, except those of terminals.
pub(super) fn ignore_requests() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH] {
        // An empty handler, and not the disposition to ignore, which other programs would inherit.
        // SAFETY: the handler does nothing, so it is safe to run at any point.
        unsafe { signal_hook::low_level::register(signal, || {}) }?;
    }
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTTIN, Signal::SIGTTOU] {
        // Writing to the terminal from a background group would otherwise be repeated for ever.
        // SAFETY: no handler is installed.
        unsafe { sigaction(signal, &ignore) }?;
    }
    Ok(())
}

/// Sends this process the signal that stops it. Its own handler has nothing to do by then.
pub(crate) fn raise_stop_signal() {
    let _ = signal_hook::low_level::raise(SIGTERM);
}

/// Blocks every signal while it lives.
pub(super) struct SignalMaskGuard {
    before: SigSet,
}

impl SignalMaskGuard {
    pub(super) fn begin() -> io::Result<Self> {
        Ok(Self { before: SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)? })
    }
}

impl Drop for SignalMaskGuard {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Starts a thread in which every signal is blocked. Signals for the process are the reactor's; another
/// thread must not receive them while the reactor's own thread has them blocked.
pub(crate) fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A thread inherits the mask of the one that starts it.
    let _mask = SignalMaskGuard::begin()?;
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
