//! Session tickets that every child of the fleet can open, whichever of them made it.
//!
//! The master makes a secret at its start and hands it to the children; it passes over an upgrade.
//! From the secret follows a key for each epoch of twelve hours, by a one-way function: whoever has
//! the key of an epoch has those of the later ones, and nobody has those of the earlier. Processes go
//! forward when they make or open a ticket, and forget. A ticket opens in the epoch it was made in and
//! in the next, so for twelve hours at least (which is the lifetime that clients are told) and for
//! less than twenty-four.
//!
//! ```text
//! state[n + 1] = HMAC-SHA256(state[n], "next epoch")
//! key[n]       = HMAC-SHA256(state[n], "seal tickets")
//! ticket       = n ‖ nonce ‖ ChaCha20-Poly1305(key[n], nonce, session; n ‖ scope)
//! ```
//!
//! Nonces are random, as no child knows of another's. A key is safe with those for 2^32 tickets, which
//! is a hundred thousand a second.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

/// How long a key makes tickets.
const EPOCH: Duration = Duration::from_secs(LIFETIME as u64);
/// How long a client may count on its ticket, in seconds.
const LIFETIME: u32 = 12 * 60 * 60;
/// A clock that is further ahead than this (a hundred years) is followed step by step.
const LONGEST_WALK: u64 = 100_000;

const KEY_LEN: usize = 32;
type Key = Zeroizing<[u8; KEY_LEN]>;

/// The state of one epoch, from which those of the later ones follow.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ratchet {
    epoch: u64,
    state: Key,
}

/// A secret is nobody's to print.
impl fmt::Debug for Ratchet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ratchet").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

fn epoch_of(now: SystemTime) -> u64 {
    let elapsed = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    elapsed.as_secs() / EPOCH.as_secs()
}

impl Ratchet {
    /// A new secret, for a master that has none.
    pub(crate) fn new(now: SystemTime) -> Result<Self, Unspecified> {
        let mut state = Key::default();
        SystemRandom::new().fill(&mut *state)?;
        Ok(Self { epoch: epoch_of(now).saturating_sub(1), state })
    }

    /// What a new child is to get. It is one epoch behind the clock: such a child opens the tickets of
    /// the last epoch too.
    pub(crate) fn keep_up(&mut self, now: SystemTime) {
        self.advance_to(epoch_of(now).saturating_sub(1));
    }

    /// Never goes back, whatever the clock does.
    fn advance_to(&mut self, epoch: u64) {
        let last = epoch.min(self.epoch.saturating_add(LONGEST_WALK));
        while self.epoch < last {
            *self = self.next();
        }
    }

    fn next(&self) -> Self {
        Self {
            epoch: self.epoch.saturating_add(1),
            state: self.derive(b"prefork session tickets: next epoch"),
        }
    }

    fn sealing_key(&self) -> Key {
        self.derive(b"prefork session tickets: seal")
    }

    fn derive(&self, purpose: &[u8]) -> Key {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*self.state), purpose);
        let mut key = Key::default();
        key.iter_mut().zip(tag.as_ref()).for_each(|(key, tag)| *key = *tag);
        key
    }

    pub(super) fn to_parts(&self) -> (u64, &[u8]) {
        (self.epoch, &*self.state)
    }

    /// `None` if the state is none.
    pub(super) fn from_parts(epoch: u64, state: &[u8]) -> Option<Self> {
        Some(Self { epoch, state: Key::new(state.try_into().ok()?) })
    }
}

/// Makes and opens tickets. See the [module](self).
pub(super) struct Tickets {
    keys: Mutex<Keys>,
    scope: [u8; 32],
    random: SystemRandom,
}

struct Keys {
    /// Of the epoch in which tickets are made now.
    ratchet: Ratchet,
    current: Key,
    previous: Key,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Keys {
    /// The state is that of the last epoch but one, or older.
    fn new(before: Ratchet) -> Self {
        let ratchet = before.next();
        Self { previous: before.sealing_key(), current: ratchet.sealing_key(), ratchet }
    }

    /// The key that tickets are made with now, and its epoch.
    fn sealing(&mut self, now: SystemTime) -> (u64, Key) {
        let epoch = epoch_of(now);
        if epoch > self.ratchet.epoch {
            self.ratchet.advance_to(epoch.saturating_sub(1));
            *self = Self::new(self.ratchet.clone());
        }
        (self.ratchet.epoch, self.current.clone())
    }

    /// The key to open a ticket with. One may come from a child that has seen the clock go further.
    fn opening(&mut self, epoch: u64, now: SystemTime) -> Option<Key> {
        let (current, key) = self.sealing(now);
        match epoch {
            _ if epoch == current => Some(key),
            _ if epoch.checked_add(1) == Some(current) => Some(self.previous.clone()),
            _ if current.checked_add(1) == Some(epoch) => Some(self.ratchet.next().sealing_key()),
            _ => None,
        }
    }
}

impl Tickets {
    /// Tickets that open in this `scope` only.
    pub(super) fn new(ratchet: Ratchet, scope: [u8; 32]) -> Self {
        Self { keys: Mutex::new(Keys::new(ratchet)), scope, random: SystemRandom::new() }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a ticket is bound to, beside its key.
    fn bound_to(&self, epoch: u64) -> Aad<[u8; 40]> {
        let mut bytes = [0; 40];
        let both = epoch.to_be_bytes().into_iter().chain(self.scope);
        bytes.iter_mut().zip(both).for_each(|(byte, value)| *byte = value);
        Aad::from(bytes)
    }

    fn seal(&self, plain: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let (epoch, key) = self.keys().sealing(now);
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        aead(&key)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), self.bound_to(epoch), &mut sealed)
            .ok()?;
        Some([&epoch.to_be_bytes()[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let (epoch, rest) = ticket.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        let epoch = u64::from_be_bytes(*epoch);
        let key = self.keys().opening(epoch, now)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = aead(&key)?.open_in_place(nonce, self.bound_to(epoch), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

fn aead(key: &Key) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, &**key).map(LessSafeKey::new).ok()
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, SystemTime::now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [u8; 32] = [1; 32];
    const SESSION: &[u8] = b"a session";

    fn at(epochs: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + EPOCH * (40_000 + epochs)
    }

    fn child(ratchet: &Ratchet) -> Tickets {
        Tickets::new(ratchet.clone(), HERE)
    }

    #[test]
    fn one_child_opens_what_another_made() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let (one, other) = (child(&ratchet), child(&ratchet));
        let ticket = one.seal(SESSION, at(0)).unwrap();
        assert!(!ticket.windows(SESSION.len()).any(|window| window == SESSION));
        assert_ne!(one.seal(SESSION, at(0)).unwrap(), ticket, "a nonce of its own");
        assert_eq!(other.open(&ticket, at(0)).as_deref(), Some(SESSION));
        assert_eq!(one.open(&ticket, at(0)).as_deref(), Some(SESSION));
    }

    #[test]
    fn what_is_altered_or_foreign_stays_shut() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let one = child(&ratchet);
        let ticket = one.seal(SESSION, at(0)).unwrap();
        for place in 0..ticket.len() {
            let mut altered = ticket.clone();
            altered[place] ^= 1;
            assert_eq!(one.open(&altered, at(0)), None, "byte {place}");
            assert_eq!(one.open(&ticket[..place], at(0)), None, "cut at {place}");
        }
        let stranger = child(&Ratchet::new(at(0)).unwrap());
        assert_eq!(stranger.open(&ticket, at(0)), None);
        let elsewhere = Tickets::new(ratchet, [2; 32]);
        assert_eq!(elsewhere.open(&ticket, at(0)), None, "of another scope");
    }

    #[test]
    fn a_ticket_opens_in_its_epoch_and_the_next() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let ticket = child(&ratchet).seal(SESSION, at(0)).unwrap();
        let opens = |epoch| child(&ratchet).open(&ticket, at(epoch)).is_some();
        assert!(opens(0) && opens(1));
        assert!(!opens(2) && !opens(3) && !opens(1000));
        let child = child(&ratchet);
        let second = child.seal(SESSION, at(1)).unwrap();
        assert!(child.open(&ticket, at(1)).is_some(), "one that has gone along");
        assert!(child.open(&ticket, at(2)).is_none());
        assert!(child.open(&second, at(2)).is_some());
    }

    #[test]
    fn a_child_that_is_started_later_opens_what_the_others_do() {
        let mut ratchet = Ratchet::new(at(0)).unwrap();
        let early = child(&ratchet);
        let last = early.seal(SESSION, at(4)).unwrap();
        let now = early.seal(SESSION, at(5)).unwrap();
        ratchet.keep_up(at(5));
        let late = child(&ratchet);
        assert!(late.open(&last, at(5)).is_some());
        assert!(late.open(&now, at(5)).is_some());
        assert!(early.open(&late.seal(SESSION, at(5)).unwrap(), at(5)).is_some());
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut ratchet = Ratchet::new(at(0)).unwrap();
        let one = child(&ratchet);
        let ahead = one.seal(SESSION, at(1)).unwrap();
        assert_eq!(one.seal(SESSION, at(0)).unwrap()[..8], ahead[..8], "no key comes back");
        assert!(one.open(&ahead, at(0)).is_some());
        assert!(child(&ratchet).open(&ahead, at(0)).is_some(), "at one that never saw the later time");
        let before = ratchet.clone();
        ratchet.keep_up(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(ratchet, before);
    }

    #[test]
    fn no_clock_makes_it_walk_for_ever() {
        let mut ratchet = Ratchet::new(SystemTime::UNIX_EPOCH).unwrap();
        ratchet.advance_to(u64::MAX);
        assert_eq!(ratchet.epoch, LONGEST_WALK);
    }

    #[test]
    fn it_survives_the_wire_and_is_not_printed() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let (epoch, state) = ratchet.to_parts();
        assert_eq!(Ratchet::from_parts(epoch, state), Some(ratchet.clone()));
        assert_eq!(Ratchet::from_parts(epoch, &state[1..]), None);
        assert_eq!(format!("{ratchet:?}"), "Ratchet { epoch: 39999, .. }");
    }
}
