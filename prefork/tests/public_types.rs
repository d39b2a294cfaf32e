//! The traits of public types: they can be printed, and sent to and shared between threads.

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};

use prefork::*;

fn is_shareable<T: Debug + Send + Sync + Unpin + 'static>() {}
fn is_value<T: Debug + Clone + Copy + Eq + Hash + Send + Sync + 'static>() {}
fn is_error<T: StdError + Send + Sync + Unpin + 'static>() {}

#[test]
fn handles_are_shareable_and_cheap_to_clone() {
    fn is_handle<T: Debug + Clone + Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    is_handle::<FleetHandle>();
    is_shareable::<ChildContext>();
    is_shareable::<Shutdown>();
    is_shareable::<Busy>();
    is_shareable::<FairShare>();
    is_shareable::<Listener>();
    fn clones<T: Clone>() {}
    clones::<ChildContext>();
    clones::<Shutdown>();
    clones::<FleetStatus>();
    is_shareable::<FleetStatus>();
    is_shareable::<(Canary, CanaryGroup, CanaryVerdict)>();
    clones::<(Canary, CanaryVerdict)>();
}

#[test]
fn shared_values_are_shareable() {
    use prefork::shared::*;
    is_shareable::<(Counter, Gauge, Histogram, Max, Min)>();
    is_shareable::<(Flag, RateLimiter, KeyedRateLimiter)>();
    is_shareable::<(CounterFamily<1>, GaugeFamily<2>, HistogramFamily<3>)>();
    is_shareable::<(Held<'static>, Timer<'static>, Observations)>();
    is_value::<Limited>();
    is_error::<Limited>();
}

#[test]
fn shutdown_is_a_future_that_can_be_spawned() {
    fn is_future<T: Future<Output = ()> + Send + Unpin + 'static>() {}
    is_future::<Shutdown>();
}

#[test]
fn enums_of_options_and_states_are_values() {
    is_value::<Network>();
    is_value::<Readiness>();
    is_value::<FleetState>();
    is_value::<ChildState>();
    is_value::<ChildStatus>();
    is_value::<HoldStatus>();
    is_value::<WaitingSlot>();
    is_value::<ThisProcess>();
    #[cfg(feature = "tokio")]
    is_value::<Runtime>();
    fn displays<T: Display>() {}
    displays::<Network>();
    displays::<FleetState>();
    displays::<ChildState>();
    displays::<ThisProcess>();
}

#[test]
fn errors_can_be_boxed_and_sent() {
    is_error::<Error>();
    is_error::<Failure>();
    is_error::<ParseOptionError>();
}

#[test]
fn fleet_can_be_printed() {
    fn prints<T: Debug>() {}
    prints::<Prefork>();
}
