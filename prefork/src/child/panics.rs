//! The panic that ends this process, as a message: the standard library prints it to standard error, which neither the
//! log nor the master reads.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, Once, PoisonError};

use super::start_error::process_name;
use crate::logging::{self, Logger};

/// A panic's text, and where it was.
type Panic = (String, String);

thread_local! {
    /// The last panic of this thread.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Where panics abort: the logger of the call that came last. The program's own is known after `init` only.
static LATEST: Mutex<Option<Logger>> = Mutex::new(None);

/// Calls user code. A panic that ends it is logged, and continues; one that the code itself catches is not. Where
/// panics abort, each of them is the end.
pub(crate) fn reporting_panics<T>(logger: &Logger, call: impl FnOnce() -> T) -> T {
    if cfg!(panic = "abort") {
        use_logger(logger);
    }
    remember_panics();
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(value) => value,
        Err(payload) => {
            let text = text_of(&*payload);
            // The panic may be one of another thread, which this one continues.
            let place = LAST.take().and_then(|(last, place)| (last == text).then_some(place));
            report(logger, text, place.as_deref());
            panic::resume_unwind(payload)
        }
    }
}

fn use_logger(logger: &Logger) {
    // The program's code that drops its earlier logger may panic: not under the lock, which the hook takes.
    let earlier = LATEST.lock().unwrap_or_else(PoisonError::into_inner).replace(logger.clone());
    drop(earlier);
}

fn latest_logger() -> Logger {
    LATEST.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// A payload has no place: only a hook is told of it.
fn remember_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            earlier(info);
            let (text, place) = (text_of(info.payload()), info.location().map(ToString::to_string));
            if cfg!(panic = "abort") {
                report(&latest_logger(), text, place.as_deref());
            } else {
                let last = place.map(|place| (text.to_owned(), place));
                // A thread that ends has it no more. A panic in this hook would end the process.
                let _ = LAST.try_with(|kept| kept.replace(last));
            }
        }));
    });
}

/// `child 3 (pid 4711) panicked at src/main.rs:12:5: no such table`.
fn report(logger: &Logger, text: &str, place: Option<&str>) {
    let place = place.map_or_else(String::new, |place| format!(" at {place}"));
    logger.event("serve_failed").printed().error(format_args!("{} panicked{place}: {text}", process_name()));
    logging::flush();
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use log::{Log, Metadata, Record};

    use super::*;

    /// Notes what it logs.
    struct Noting(&'static Mutex<Vec<String>>);

    impl Log for Noting {
        fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    #[test]
    fn panic_is_reported_to_the_latest_logger() {
        static NOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
        use_logger(&Logger::default());
        use_logger(&Logger::new(Noting(&NOTED)));
        report(&latest_logger(), "no such table", Some("src/main.rs:12:5"));
        let lines = NOTED.lock().unwrap();
        assert!(
            lines.iter().any(|line| line.ends_with(" panicked at src/main.rs:12:5: no such table")),
            "{lines:?}"
        );
    }

    /// Without the care for it, this ends the whole test process.
    #[test]
    fn panic_in_a_thread_that_ends_is_no_other_panic() {
        struct PanicsInDrop;

        impl Drop for PanicsInDrop {
            fn drop(&mut self) {
                panic::catch_unwind(|| panic!("this panic is part of a test")).unwrap_err();
            }
        }

        thread_local! {
            static FIRST: PanicsInDrop = const { PanicsInDrop };
        }

        remember_panics();
        let thread = thread::spawn(|| {
            FIRST.with(|_| ());
            // What is used last is dropped first.
            LAST.set(Some((String::new(), String::new())));
        });
        thread.join().unwrap();
    }
}
