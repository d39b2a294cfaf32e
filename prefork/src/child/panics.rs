//! The panic that ends this process, as a message: the standard library prints it to standard error, which neither the
//! log nor the master reads.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::start_error::this_child;
use crate::logging::{self, Logger};

/// A panic's text, and where it was.
type Panic = (String, String);

thread_local! {
    /// The last panic of this thread.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Calls user code. A panic that ends it is logged, and continues; one that the code itself catches is not. Where
/// panics abort, each of them is the end.
pub(crate) fn watched<T>(logger: &Logger, call: impl FnOnce() -> T) -> T {
    remember_panics(logger);
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

/// A payload has no place: only a hook is told of it.
fn remember_panics(logger: &Logger) {
    static HOOKED: Once = Once::new();
    let logger = logger.clone();
    HOOKED.call_once(move || {
        let earlier = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            earlier(info);
            let (text, place) = (text_of(info.payload()), info.location().map(ToString::to_string));
            if cfg!(panic = "abort") {
                report(&logger, text, place.as_deref());
            } else {
                LAST.set(place.map(|place| (text.to_owned(), place)));
            }
        }));
    });
}

/// `child 3 (pid 4711) panicked at src/main.rs:12:5: no such table`.
fn report(logger: &Logger, text: &str, place: Option<&str>) {
    let place = place.map_or_else(String::new, |place| format!(" at {place}"));
    logger.event("serve_failed").printed().error(format_args!("{} panicked{place}: {text}", this_child()));
    logging::flush();
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
