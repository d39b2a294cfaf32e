//! The guide: one page for each subject. The pages are the files in `docs` of this package.
//!
//! - [`serving`]: the serve function, sockets, TLS, frameworks, hooks, the builder
//! - [`options`]: every option, its values, default and environment variable
//! - [`operations`]: start, signals, failures, reload, upgrade, stop, health, deployment, limits
//! - [`leader`]: work that one child of the fleet does
//! - [`control`]: commands by the control socket, the fleet's status, its events
//! - [`preforkctl`]: the command for that socket
//! - [`shared_values`]: counters, gauges, histograms, flags and rate limiters of the fleet; metrics
//! - [`metrics`]: what Prometheus scrapes, alerts, a dashboard
//! - [`logging`]: every log message; loggers and `tracing`
//! - [`platforms`]: what differs on macOS, FreeBSD and Windows
//! - [`performance`]: what this crate costs beside others, what limits it, what was not measured
//! - [`benchmarks`]: the figures of all contenders, as one command makes them
//! - [`from_fasthttp`]: a migration table for users of fasthttp's prefork

// The links of a page have their targets in definitions at its end, which are files. The definitions
// here come first and win, so that the same links work in these docs. A page whose programs need a
// feature is tested with that feature only.

#[doc = include_str!("../docs/options.md")]
pub mod options {}

#[doc = "[benchmarks]: crate::guide::benchmarks\n[options]: crate::guide::options\n[operations]: crate::guide::operations\n"]
#[doc = "[canary]: crate::guide::operations#canary\n[shared values]: crate::guide::shared_values\n"]
#[cfg_attr(any(not(doctest), all(feature = "tokio", feature = "rustls")), doc = include_str!("../docs/serving.md"))]
pub mod serving {}

#[doc = "[canary]: crate::guide::operations#canary\n[failures]: crate::guide::operations#failures\n[child]: crate::guide::logging#the-end-of-a-child\n[health]: crate::guide::operations#health\n[leader]: crate::guide::leader\n[logging]: crate::guide::logging#log-lines\n[log files]: crate::guide::logging#log-files\n[preforkctl]: crate::guide::preforkctl\n[serving]: crate::guide::serving#operating-the-fleet-from-inside\n[shared values]: crate::guide::shared_values\n[preload]: crate::guide::serving#load-once\n"]
#[doc = include_str!("../docs/control.md")]
pub mod control {}

#[doc = "[canary]: crate::guide::operations#canary\n[control]: crate::guide::control\n[requests]: crate::guide::control#requests\n[log files]: crate::guide::logging#log-files\n[metrics]: crate::guide::metrics\n[health]: crate::guide::operations#health\n[preload]: crate::guide::serving#load-once\n[reading]: crate::guide::control#reading\n[check]: crate::guide::operations#check-of-a-configuration\n"]
#[doc = include_str!("../docs/preforkctl.md")]
pub mod preforkctl {}

#[doc = "[options]: crate::guide::options\n[leader]: crate::guide::leader\n[preload]: crate::guide::serving#load-once\n[logging]: crate::guide::logging\n[control]: crate::guide::control\n[platforms]: crate::guide::platforms\n[log files]: crate::guide::logging#log-files\n[metrics]: crate::guide::metrics\n[shared values]: crate::guide::shared_values\n"]
#[doc = include_str!("../docs/operations.md")]
pub mod operations {}

#[doc = include_str!("../docs/leader.md")]
pub mod leader {}

#[doc = "[hook]: crate::guide::serving#hooks\n[metrics]: crate::guide::metrics\n[requests]: crate::guide::control#requests\n[scrape]: crate::guide::metrics#what-a-scrape-costs\n"]
#[doc = include_str!("../docs/shared-values.md")]
pub mod shared_values {}

#[cfg_attr(feature = "metrics", doc = "[recorder]: crate::shared::Recorder\n")]
#[doc = "[health]: crate::guide::operations#health\n[control]: crate::guide::control\n[failures]: crate::guide::operations#failures\n[canary]: crate::guide::operations#canary\n[logging]: crate::guide::logging\n[preload]: crate::guide::serving#load-once\n[shared values]: crate::guide::shared_values\n"]
#[doc = include_str!("../docs/metrics.md")]
pub mod metrics {}

#[doc = "[control]: crate::guide::control\n[events]: crate::guide::control#reading\n"]
#[doc = include_str!("../docs/logging.md")]
pub mod logging {}

#[doc = "[metrics]: crate::guide::metrics\n"]
#[doc = "[operations]: crate::guide::operations#privileges-and-placement"]
#[doc = "[shared values]: crate::guide::shared_values"]
#[doc = "[serving]: crate::guide::serving#operating-the-fleet-from-inside\n"]
#[doc = include_str!("../docs/platforms.md")]
pub mod platforms {}

#[doc = "[benchmarks]: crate::guide::benchmarks\n[balance]: crate::guide::serving#balance\n"]
#[doc = include_str!("../docs/performance.md")]
pub mod performance {}

/// The plots are beside the page in the package.
#[doc = include_str!("../docs/benchmarks.md")]
pub mod benchmarks {}

#[doc = "[options]: crate::guide::options\n[operations]: crate::guide::operations\n"]
#[doc = include_str!("../docs/from-fasthttp.md")]
pub mod from_fasthttp {}
