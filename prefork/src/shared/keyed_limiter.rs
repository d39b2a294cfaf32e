//! [`KeyedRateLimiter`].

use std::fmt;
use std::hash::Hash;
use std::sync::OnceLock;
use std::time::Duration;

use super::key_table::{KeyTable, UNIT_SHIFT, UnitLimit};
use super::limiter::{Limit, Limited};
use super::process::PROCESS;
use super::series::{Kind, Series};
use crate::sys;

/// A limit for each key, such as the address of a client, over all processes of the fleet.
///
/// ```
/// use std::net::{IpAddr, Ipv4Addr};
///
/// use prefork::shared::KeyedRateLimiter;
///
/// static PER_CLIENT: KeyedRateLimiter =
///     KeyedRateLimiter::per_second("app_client_requests", "Requests of one client", 10).burst(20);
///
/// let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// assert!(PER_CLIENT.allow(&client));
/// ```
///
/// A key is anything that can be hashed. Of an IPv6 address take the first 64 bits: a client usually has all addresses
/// with the same.
///
/// # Memory
///
/// 512 KiB for the whole fleet, whatever the number of keys: a table of 65,536 words in 8,192 buckets of eight. Nothing
/// is allocated for a key. A key has a word while it is *active*: until it has recovered from what it has used, at most
/// for the time of its burst. A fleet has room for 16 such limiters.
///
/// # Keys that share
///
/// Up to eight active keys in a bucket have a limit each, as if they were alone; two of them whose hashes agree in 16
/// more bits, one pair in 65,536, have one limit together. When a bucket has more than eight active keys, a new one
/// takes the word of the key that is next to recover, and waits for that. So many keys at once are limited too
/// strictly, never too little, and what eight keys may do is the most that a bucket allows. With 8,000 keys active at
/// once, one in 100,000 has eight others in its bucket; with 20,000 it is one in 200. The places depend on a random
/// number of the fleet: no client can choose a key to share with another.
///
/// # Cost and exactness
///
/// One read of the clock, a hash, and an atomic exchange in one cache line. Times are kept in units of 256 ns. A
/// process that is killed changes nothing, and the limits outlive reloads and upgrades.
pub struct KeyedRateLimiter {
    series: Series,
    limit: Limit,
    table: OnceLock<&'static KeyTable>,
}

/// The shortest time between two, in nanoseconds: a shorter one would be rounded by more than 1%.
const LEAST_INTERVAL: u64 = 100 << UNIT_SHIFT;

impl KeyedRateLimiter {
    /// Allows `count` per second for each key. Limiters with the same name are one, in all processes.
    ///
    /// # Panics
    ///
    /// As [`Counter::new`](super::Counter::new); and if `count` is 0 or more than 39,062.
    #[must_use]
    pub const fn per_second(name: &'static str, help: &'static str, count: u32) -> Self {
        Self::per(name, help, count, Duration::from_secs(1))
    }

    /// Allows `count` per minute for each key.
    ///
    /// # Panics
    ///
    /// As [`per_second`](Self::per_second).
    #[must_use]
    pub const fn per_minute(name: &'static str, help: &'static str, count: u32) -> Self {
        Self::per(name, help, count, Duration::from_secs(60))
    }

    /// Allows `count` in each `period` for each key.
    ///
    /// # Panics
    ///
    /// As [`per_second`](Self::per_second); and if the period is longer than a month.
    #[must_use]
    pub const fn per(name: &'static str, help: &'static str, count: u32, period: Duration) -> Self {
        let limit = Limit::new(count, period);
        assert!(limit.interval() >= LEAST_INTERVAL, "a keyed rate limiter allows at most 39,062 per second");
        Self { series: Series::new(Kind::KeyedRateLimiter, name, help), limit, table: OnceLock::new() }
            .checked()
    }

    /// Allows `count` at once for each key, after a pause.
    ///
    /// # Panics
    ///
    /// If it is 0, or takes longer than a month to recover from.
    #[must_use]
    pub const fn burst(mut self, count: u32) -> Self {
        self.limit = self.limit.burst(count);
        self.checked()
    }

    const fn checked(self) -> Self {
        const MONTH: u64 = 31 * 24 * 3600 * 1_000_000_000;
        assert!(self.limit.horizon() <= MONTH, "a key recovers from its burst within a month");
        self
    }

    /// Takes one for the key, if its limit allows it now.
    #[must_use = "the answer is whether it is allowed"]
    pub fn allow(&self, key: &impl Hash) -> bool {
        self.check(key).is_ok()
    }

    /// Takes one for the key, if its limit allows it now; otherwise tells how long it will not. Never waits.
    ///
    /// # Errors
    ///
    /// [`Limited`], with the time until one would be allowed.
    pub fn check(&self, key: &impl Hash) -> Result<(), Limited> {
        let Some(table) = self.table.get().copied().or_else(|| self.find()) else { return Ok(()) };
        let units = |nanos: u64| nanos >> UNIT_SHIFT;
        let limit =
            UnitLimit { interval: units(self.limit.interval()), horizon: units(self.limit.horizon()) };
        let taken = table.take(key, limit, units(sys::monotonic_nanos()));
        taken.map_err(|wait| Limited::after(wait << UNIT_SHIFT))
    }

    #[cold]
    fn find(&self) -> Option<&'static KeyTable> {
        let found = PROCESS.resolve_keys(&self.series)?;
        Some(self.table.get_or_init(|| found))
    }
}

impl fmt::Debug for KeyedRateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.series.debug("KeyedRateLimiter", f)
    }
}
