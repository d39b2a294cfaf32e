//! Signals as a readable socket, and scopes without them.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};
use signal_hook::SigId;
use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

use super::platform;

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

/// Tells without a system call whether one of some signals has arrived, and hands them on while they are
/// [held](HeldSignals).
#[derive(Debug)]
pub(super) struct SignalFlag {
    arrived: Arc<AtomicBool>,
    handlers: Vec<SigId>,
}

impl SignalFlag {
    /// Handlers run in the order of their registration: what another one does with a signal is done before
    /// the flag is set, if that one was registered first.
    pub(super) fn register(signals: impl Iterator<Item = i32>) -> io::Result<Self> {
        let mut flag = Self { arrived: Arc::default(), handlers: Vec::new() };
        for signal in signals {
            flag.handlers.push(signal_hook::flag::register(signal, Arc::clone(&flag.arrived))?);
            // SAFETY: the handler loads a number and sends a signal, which is allowed at any point.
            let hand_on = unsafe { signal_hook::low_level::register(signal, move || hand_on(signal)) };
            flag.handlers.push(hand_on?);
        }
        Ok(flag)
    }

    /// Whether a signal has arrived since the last call.
    pub(super) fn take(&self) -> bool {
        self.arrived.swap(false, Ordering::SeqCst)
    }
}

impl Drop for SignalFlag {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}

/// The thread that holds signals, or 0.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

/// While it lives, signals are pending in this thread. Those stay pending when it executes another program:
/// nothing that arrives meanwhile is lost.
#[derive(Debug)]
pub(crate) struct HeldSignals {
    _mask: SignalMaskGuard,
}

impl HeldSignals {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::unnecessary_cast,
        reason = "it is as large as a pointer"
    )]
    pub(crate) fn begin() -> io::Result<Self> {
        let mask = SignalMaskGuard::begin()?;
        // SAFETY: the call has no conditions.
        let this_thread = unsafe { libc::pthread_self() } as usize;
        // Only now: a signal that this thread hands on to itself must be blocked.
        HOLDER.store(this_thread, Ordering::SeqCst);
        Ok(Self { _mask: mask })
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        HOLDER.store(0, Ordering::SeqCst);
    }
}

/// A thread that the program started itself may not block the signal, and so receives it while the thread of
/// the reactor holds signals. What it noted of it is gone after an exec.
#[allow(clippy::unnecessary_cast, reason = "the type differs by system")]
fn hand_on(signal: i32) {
    let holder = HOLDER.load(Ordering::SeqCst);
    if holder != 0 {
        // SAFETY: the thread holds signals until it has set the number to 0, so it exists.
        unsafe { libc::pthread_kill(holder as libc::pthread_t, signal) };
    }
}

/// Signals that are requests to a master and do nothing in a child.
const HANDLED_IN_CHILD: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];
const IGNORED_IN_CHILD: [Signal; 2] = [Signal::SIGTTIN, Signal::SIGTTOU];

/// The same signals. SIGTERM is not among them: it ends a child that has not taken its handshake.
fn without_effect_in_child() -> io::Result<SigSet> {
    let handled: nix::Result<SigSet> = HANDLED_IN_CHILD.into_iter().map(Signal::try_from).collect();
    Ok(handled? | SigSet::from_iter(IGNORED_IN_CHILD))
}

/// Blocks, while it lives, the signals that do nothing in a child. A child that is started meanwhile inherits that, so
/// they have no effect before it [ignores](ignore_requests) them either.
pub(super) fn block_for_child() -> io::Result<SignalMaskGuard> {
    SignalMaskGuard::block(&without_effect_in_child()?)
}

/// From now on the signals that are requests to a master do nothing in this process. A program that it
/// executes has them with their default effect, except those of terminals.
pub(super) fn ignore_requests() -> io::Result<()> {
    for signal in HANDLED_IN_CHILD {
        // An empty handler, and not the disposition to ignore, which other programs would inherit.
        // SAFETY: the handler does nothing, so it is safe to run at any point.
        unsafe { signal_hook::low_level::register(signal, || {}) }?;
    }
    let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    for signal in IGNORED_IN_CHILD {
        // Writing to the terminal from a background group would otherwise be repeated for ever.
        // SAFETY: no handler is installed.
        unsafe { sigaction(signal, &ignore) }?;
    }
    // The master has started this process with them blocked.
    Ok(without_effect_in_child()?.thread_unblock()?)
}

/// Whether a request stays ignored: `nohup` has said so about SIGHUP.
pub(super) fn is_left_alone(signal: i32) -> bool {
    signal == SIGHUP && ignores_hangup()
}

/// Whether this process was started with SIGHUP ignored, as by `nohup`, and has installed no handler for it.
pub(crate) fn ignores_hangup() -> bool {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only writes the present one to `now`.
    let told = unsafe { libc::sigaction(SIGHUP, ptr::null(), now.as_mut_ptr()) } == 0;
    // SAFETY: the call has succeeded, so `now` is written.
    told && unsafe { now.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// The signal that a terminal has sent since the last call of [`take_signal_of_terminal`], or 0.
static OF_TERMINAL: AtomicI32 = AtomicI32::new(0);

/// Tells SIGTTIN and SIGTTOU that a terminal sends from those that are requests. A thread of the program that reads
/// or writes in the terminal's background gets one with each attempt, and attempts it again at once, for ever. So the
/// signal is ignored from the first one on: reading then fails, and writing is allowed.
///
/// Call it before the signals are collected: handlers run in the order of their registration.
pub(super) fn tell_signals_of_terminals_apart() -> io::Result<()> {
    for signal in [SIGTTIN, SIGTTOU] {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        let number = Signal::try_from(signal)?;
        let note = move |info: &libc::siginfo_t| {
            if platform::process::is_sent_by_kernel(info) {
                OF_TERMINAL.store(signal, Ordering::SeqCst);
                // SAFETY: the system call may be made in a handler, and ignoring a signal runs no code.
                let _ = unsafe { sigaction(number, &ignore) };
            }
        };
        // SAFETY: the handler stores a number and makes a system call, which is allowed at any point.
        unsafe { signal_hook_registry::register_sigaction(signal, note) }?;
    }
    Ok(())
}

/// The signal that a terminal has sent since the last call, if there is one. It is ignored by now.
pub(super) fn take_signal_of_terminal() -> Option<Signal> {
    Signal::try_from(OF_TERMINAL.swap(0, Ordering::SeqCst)).ok()
}

/// An alarm that a library has left behind does not end the master. A library that sets alarms itself has a
/// handler of its own, which runs as well.
pub(super) fn survive_alarms() -> io::Result<()> {
    // SAFETY: the handler does nothing, so it is safe to run at any point.
    unsafe { signal_hook::low_level::register(SIGALRM, || {}) }.map(drop)
}

/// While it lives, this thread may use the terminal although the process is in its background: the terminal
/// does not send SIGTTOU or SIGTTIN, which are requests to a master. Writing is allowed; reading fails.
#[derive(Debug)]
pub(crate) struct TerminalGuard {
    _mask: Option<SignalMaskGuard>,
}

impl TerminalGuard {
    pub(crate) fn begin() -> Self {
        let of_terminals = SigSet::from_iter([Signal::SIGTTIN, Signal::SIGTTOU]);
        Self { _mask: SignalMaskGuard::block(&of_terminals).ok() }
    }
}

/// Sends this process the signal that stops it. Its own handler has nothing to do by then.
pub(crate) fn raise_stop_signal() {
    let _ = signal_hook::low_level::raise(SIGTERM);
}

/// Blocks signals in this thread while it lives.
#[derive(Debug)]
pub(super) struct SignalMaskGuard {
    before: SigSet,
}

impl SignalMaskGuard {
    /// Blocks every signal.
    pub(super) fn begin() -> io::Result<Self> {
        Self::block(&SigSet::all())
    }

    fn block(signals: &SigSet) -> io::Result<Self> {
        Ok(Self { before: signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)? })
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

/// How long signals have no effect after the end of a reactor.
const RETIRE_AFTER: Duration = Duration::from_millis(250);

/// Gives signals their default effect again, after a while: tools send the request to stop twice, and the second must
/// not end a process that is about to exit with its own status.
pub(super) fn retire(retired: &Arc<AtomicBool>) {
    let after_a_while = {
        let retired = Arc::clone(retired);
        move || {
            thread::sleep(RETIRE_AFTER);
            retired.store(true, Ordering::SeqCst);
        }
    };
    if spawn_thread("prefork-retire", after_a_while).is_err() {
        retired.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;
    use signal_hook::consts::{SIGURG, SIGWINCH};

    use super::*;

    #[test]
    fn signal_that_arrives_while_the_pipe_is_full_is_not_lost() {
        let mut signals = listen_for(&[SIGURG, SIGWINCH]).unwrap();
        let flag = SignalFlag::register([SIGWINCH].into_iter()).unwrap();
        // Far more than the pipe takes.
        for _ in 0..100_000 {
            raise(Signal::SIGURG).unwrap();
        }
        raise(Signal::SIGWINCH).unwrap();
        assert!(flag.take() && !flag.take());
        let arrived: Vec<i32> = signals.pending().collect();
        assert_eq!(arrived, [SIGURG, SIGWINCH]);
        assert_eq!(signals.pending().count(), 0);
    }
}
