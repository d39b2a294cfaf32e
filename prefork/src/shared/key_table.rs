//! The keys of a [`KeyedRateLimiter`](super::KeyedRateLimiter): a table of fixed size.
//!
//! A key has its place in one bucket of eight words, which is a cache line. A word has the time of the key as in
//! [`limiter`](super::limiter), and 16 bits of the key's hash. A time that has passed is as good as none: the word is
//! free. So a key needs a word only for as long as it takes to recover from what it has used, and in a bucket only
//! keys that are active at the same time compete.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use super::layout::TABLE_WORDS;
use super::region::random;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::hint;

/// The words of a bucket.
const BUCKET: usize = 8;
/// Times are in units of 256 ns, in 48 bits: they wrap around after more than two years.
pub(super) const UNIT_SHIFT: u32 = 8;
const TIME_BITS: u32 = 48;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
/// How often other processes may change the bucket.
const TRIES: u32 = 1000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    /// In memory of this process, while it has no other.
    private: OnceLock<(Box<[AtomicU64]>, u64)>,
    home: OnceLock<(&'static [AtomicU64], u64)>,
}

/// A limit in units of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnitLimit {
    pub(super) interval: u64,
    pub(super) horizon: u64,
}

impl KeyTable {
    /// Goes on in these words. What the keys have used so far is forgotten.
    pub(super) fn move_to(&self, home: &'static [AtomicU64], seed: u64) {
        self.home.get_or_init(|| (home, seed));
    }

    /// Takes one for a key, or tells the units of time until that is possible.
    pub(super) fn take(&self, key: &impl Hash, limit: UnitLimit, now: u64) -> Result<(), u64> {
        let (words, seed) = match self.home.get() {
            Some((words, seed)) => (*words, *seed),
            None => {
                let new = || ((0..TABLE_WORDS).map(|_| AtomicU64::new(0)).collect(), random());
                let (words, seed) = self.private.get_or_init(new);
                (&**words, *seed)
            }
        };
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        key.hash(&mut hasher);
        take_hashed(words, hasher.finish(), limit, now)
    }
}

/// Takes one for the key with this hash.
fn take_hashed(words: &[AtomicU64], hash: u64, limit: UnitLimit, now: u64) -> Result<(), u64> {
    let buckets = words.len() / BUCKET;
    let place = usize::try_from(hash % (1 << 32)).unwrap_or_default() % buckets.max(1);
    let bucket = words.get(place * BUCKET..(place + 1) * BUCKET).unwrap_or_default();
    let tag = hash >> TIME_BITS;
    for _ in 0..TRIES {
        let seen: [u64; BUCKET] =
            std::array::from_fn(|word| bucket.get(word).map_or(0, |word| word.load(Ordering::Relaxed)));
        let place = choose(&seen, tag, limit, now);
        let ahead = ahead(seen[place], limit, now);
        if ahead + limit.interval > limit.horizon {
            return Err(ahead + limit.interval - limit.horizon);
        }
        let next = tag << TIME_BITS | now.wrapping_add(ahead + limit.interval) & TIME_MASK;
        let Some(word) = bucket.get(place) else { break };
        if word.compare_exchange(seen[place], next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Ok(());
        }
        hint::spin_loop();
    }
    Err(limit.interval)
}

/// The word of a key: its own, or a free one, or that of the key which is next to recover. Its time then stays, so
/// that no key gains by being one of many.
fn choose(bucket: &[u64; BUCKET], tag: u64, limit: UnitLimit, now: u64) -> usize {
    let is_active = |word: u64| ahead(word, limit, now) > 0;
    let own = bucket.iter().position(|word| word >> TIME_BITS == tag && is_active(*word));
    let free = || bucket.iter().position(|word| !is_active(*word));
    let next = || (0..BUCKET).min_by_key(|place| ahead(bucket[*place], limit, now));
    own.or_else(free).or_else(next).unwrap_or_default()
}

/// How far a word's time is ahead of now. One that is further ahead than any can be is long past, of another limit,
/// or of a process that wrote anything there; a little further is a clock that was read earlier.
fn ahead(word: u64, limit: UnitLimit, now: u64) -> u64 {
    /// About a second.
    const SLACK: u64 = 4_000_000;
    let ahead = word.wrapping_sub(now) & TIME_MASK;
    let is_unused = word == 0 || ahead > limit.horizon.saturating_add(SLACK);
    if is_unused { 0 } else { ahead }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// Ten per second, and a burst of three.
    const LIMIT: UnitLimit = UnitLimit { interval: 390_625, horizon: 3 * 390_625 };

    fn words() -> Vec<AtomicU64> {
        (0..TABLE_WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    fn allowed(words: &[AtomicU64], hash: u64, now: u64, times: usize) -> usize {
        (0..times).filter(|_| take_hashed(words, hash, LIMIT, now).is_ok()).count()
    }

    #[test]
    fn each_key_has_its_burst_and_then_one_for_each_interval() {
        let words = words();
        let now = TIME_MASK - 1000;
        for key in 0..1000_u64 {
            let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(allowed(&words, hash, now, 5), 3, "key {key}");
            assert_eq!(take_hashed(&words, hash, LIMIT, now), Err(LIMIT.interval));
            // The time has wrapped around by then.
            assert_eq!(allowed(&words, hash, now + LIMIT.interval, 5), 1);
            assert_eq!(allowed(&words, hash, now + 10 * LIMIT.interval, 5), 3);
        }
    }

    #[test]
    fn keys_beyond_a_bucket_get_no_more_than_those_in_it() {
        let words = words();
        let hash = |key: u64| key << TIME_BITS | 5;
        let total: usize = (1..=100).map(|key| allowed(&words, hash(key), 1000, 10)).sum();
        assert_eq!(total, BUCKET * 3, "as many as eight keys");
        let later = 1000 + LIMIT.interval;
        let total: usize = (1..=100).map(|key| allowed(&words, hash(key), later, 10)).sum();
        assert_eq!(total, BUCKET);
        assert_eq!(allowed(&words, hash(200) + 1, later, 10), 3, "other buckets are not concerned");
    }

    #[test]
    fn processes_that_race_for_a_key_share_its_limit() {
        let words = words();
        let total: usize = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| allowed(&words, 7 << 50, 1000, 1000))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, 3);
    }

    proptest! {
        #[test]
        fn words_of_any_value_limit_no_key_for_longer_than_its_burst(noise: [u64; BUCKET], hash: u64, now: u64) {
            let words: Vec<AtomicU64> = noise.into_iter().map(AtomicU64::new).collect();
            let now = now >> 16;
            let wait = take_hashed(&words, hash, LIMIT, now).err().unwrap_or(0);
            prop_assert!(wait <= LIMIT.horizon + 4_000_000);
            prop_assert_eq!(allowed(&words, hash, now + wait + LIMIT.horizon, 10), 3);
        }
    }
}
