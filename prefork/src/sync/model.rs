//! loom's types, with what the code needs of std's: values that are made at compile time, and words in mapped memory.

use std::cell::RefCell;
use std::io;
use std::ops::{Add, Deref, DerefMut};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, LockResult, MutexGuard as StdGuard, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) use loom::hint;

/// How many words that are zero at first a model can use.
const POOL: usize = 192;
/// The most switches between threads where none is necessary. Two reveal nearly every mistake; with more, some models
/// take minutes.
const PREEMPTIONS: usize = 2;

thread_local! {
    /// Of this execution: loom runs all threads of a model in the thread of its test.
    static WORDS: RefCell<Words> = RefCell::default();
}

/// The words of an execution by their numbers, which begin at 1. loom demands that a word is made before the threads
/// that use it, so those that are zero at first are made beforehand.
#[derive(Default)]
struct Words {
    all: Vec<&'static Watched<loom::sync::atomic::AtomicU64>>,
    used: usize,
}

/// An atomic value whose accesses loom sees as they are. By itself loom knows of the last access only: if one thread
/// loads a value, and then another loads it and changes it, it does not try the other order of load and change.
#[derive(Debug)]
struct Watched<T> {
    value: T,
    accesses: loom::sync::atomic::AtomicBool,
}

impl<T> Watched<T> {
    fn new(value: T) -> Self {
        Self { value, accesses: loom::sync::atomic::AtomicBool::new(false) }
    }

    fn access(&self) -> &T {
        self.accesses.store(false, atomic::Ordering::Relaxed);
        &self.value
    }
}

impl Words {
    /// Adds a word, whose number is returned.
    fn add(&mut self, value: u64) -> u64 {
        let word = Watched::new(loom::sync::atomic::AtomicU64::new(value));
        self.all.push(Box::leak(Box::new(word)));
        u64::try_from(self.all.len()).unwrap()
    }
}

/// Runs a model in every order. `LOOM_MAX_PREEMPTIONS` sets how many switches of threads that includes.
pub(crate) fn check(name: &str, model: impl Fn() + Send + Sync + 'static) {
    let (model, executions) = (Arc::new(model), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS));
    builder.max_branches = 10_000;
    builder.check(move || {
        count.fetch_add(1, atomic::Ordering::Relaxed);
        WORDS.with_borrow_mut(|words| {
            *words = Words::default();
            for _ in 0..POOL {
                words.add(0);
            }
        });
        // For the size of its stack.
        thread::spawn({
            let model = Arc::clone(&model);
            move || model()
        })
        .join()
        .unwrap();
    });
    println!("{name}: {} executions", executions.load(atomic::Ordering::Relaxed));
}

pub(crate) mod thread {
    pub(crate) use loom::thread::{JoinHandle, yield_now};

    /// In words. loom's own choice is too little for code that is not optimised.
    const STACK: usize = 64 * 1024;

    pub(crate) fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        loom::thread::Builder::new().stack_size(STACK).spawn(body).unwrap()
    }
}

/// Starts nothing: such a thread runs for ever, and a model has to end. Models run what it does in threads of their own.
pub(crate) fn spawn_thread(_name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    drop(body);
    Ok(())
}

/// In a model no time passes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(Duration::ZERO)
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::ZERO
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    use super::{Deref, POOL, WORDS, Watched};

    /// The number of a word of the execution, or 0 for one that nobody has used: so it can be in memory that is mapped,
    /// and memory that is zero has words that are zero.
    #[repr(transparent)]
    #[derive(Debug)]
    pub(crate) struct AtomicU64(std::sync::atomic::AtomicU64);

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            let number = WORDS.with_borrow_mut(|words| words.add(value));
            Self(std::sync::atomic::AtomicU64::new(number))
        }

        const fn unused() -> Self {
            Self(std::sync::atomic::AtomicU64::new(0))
        }

        /// A word that nobody has used is zero without it.
        #[track_caller]
        pub(crate) fn store(&self, value: u64, order: Ordering) {
            if value != 0 || self.0.load(Ordering::Relaxed) != 0 {
                self.deref().store(value, order);
            }
        }

        pub(crate) fn into_inner(self) -> u64 {
            self.load(Ordering::Relaxed)
        }
    }

    impl Deref for AtomicU64 {
        type Target = loom::sync::atomic::AtomicU64;

        fn deref(&self) -> &Self::Target {
            let word = WORDS.with_borrow_mut(|words| {
                let mut number = self.0.load(Ordering::Relaxed);
                if number == 0 {
                    words.used += 1;
                    assert!(words.used <= POOL, "the model uses more words than were made");
                    number = u64::try_from(words.used).unwrap();
                    self.0.store(number, Ordering::Relaxed);
                }
                words.all[usize::try_from(number).unwrap() - 1]
            });
            word.access()
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicU32(Watched<loom::sync::atomic::AtomicU32>);

    impl AtomicU32 {
        pub(crate) fn new(value: u32) -> Self {
            Self(Watched::new(loom::sync::atomic::AtomicU32::new(value)))
        }
    }

    impl Deref for AtomicU32 {
        type Target = loom::sync::atomic::AtomicU32;

        fn deref(&self) -> &Self::Target {
            self.0.access()
        }
    }

    /// A word that tells whether the value is another one than at first.
    #[derive(Debug)]
    pub(crate) struct AtomicBool {
        first: bool,
        changed: AtomicU64,
    }

    impl AtomicBool {
        pub(crate) const fn new(first: bool) -> Self {
            Self { first, changed: AtomicU64::unused() }
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            (self.changed.load(order) != 0) != self.first
        }

        pub(crate) fn store(&self, value: bool, order: Ordering) {
            self.changed.store(u64::from(value != self.first), order);
        }

        pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
            (self.changed.swap(u64::from(value != self.first), order) != 0) != self.first
        }
    }

    /// A word with the address, or zero for the one that it had at first.
    #[derive(Debug)]
    pub(crate) struct AtomicPtr<T> {
        first: std::sync::atomic::AtomicPtr<T>,
        word: AtomicU64,
    }

    impl<T> AtomicPtr<T> {
        pub(crate) const fn new(first: *mut T) -> Self {
            Self { first: std::sync::atomic::AtomicPtr::new(first), word: AtomicU64::unused() }
        }

        pub(crate) fn load(&self, order: Ordering) -> *mut T {
            match self.word.load(order) {
                0 => self.first.load(Ordering::Relaxed),
                address => std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap()),
            }
        }

        pub(crate) fn store(&self, pointer: *mut T, order: Ordering) {
            self.word.store(u64::try_from(pointer.expose_provenance()).unwrap(), order);
        }
    }
}

/// loom's lock, and what it protects.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    lock: OnceLock<loom::sync::Mutex<()>>,
    value: std::sync::Mutex<T>,
}

/// The value is given back before the lock.
#[derive(Debug)]
pub(crate) struct MutexGuard<'a, T> {
    value: Option<StdGuard<'a, T>>,
    lock: Option<loom::sync::MutexGuard<'a, ()>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: OnceLock::new(), value: std::sync::Mutex::new(value) }
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let lock = self.lock.get_or_init(loom::sync::Mutex::default).lock().unwrap();
        Ok(MutexGuard { value: Some(self.value()), lock: Some(lock), mutex: self })
    }

    /// The value for the thread that has the lock.
    fn value(&self) -> StdGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().unwrap()
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().unwrap()
    }
}

/// loom's. Its waits never end without a notification: a thread that misses one waits for ever, which loom reports.
#[derive(Debug, Default)]
pub(crate) struct Condvar(OnceLock<loom::sync::Condvar>);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    #[track_caller]
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        guard.value = None;
        let condvar = self.0.get_or_init(loom::sync::Condvar::default);
        guard.lock = guard.lock.take().map(|lock| condvar.wait(lock).unwrap());
        guard.value = Some(guard.mutex.value());
        Ok(guard)
    }

    #[track_caller]
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        _timeout: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        Ok((self.wait(guard).unwrap(), ()))
    }

    #[track_caller]
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        _timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        while condition(&mut guard) {
            guard = self.wait(guard).unwrap();
        }
        Ok((guard, ()))
    }

    #[track_caller]
    pub(crate) fn notify_all(&self) {
        self.0.get_or_init(loom::sync::Condvar::default).notify_all();
    }
}
