//! Session tickets that every child of the fleet can open, whichever child made them.
//!
//! The master makes a secret at its start, hands it to the children, and hands it over in an upgrade. A
//! one-way function derives a state for each epoch of twelve hours from it: the state of an epoch gives
//! the keys of later epochs, and never those of earlier ones. A process moves forward when it makes or
//! opens a ticket, and overwrites the old state. A ticket opens in its own epoch and in the next one: for
//! at least twelve hours, which is the lifetime that clients are told, and for less than twenty-four.
//!
//! ```text
//! state[n + 1] = HMAC-SHA256(state[n], "next epoch")
//! key[n]       = HMAC-SHA256(state[n], "seal tickets")
//! ticket       = n ‖ nonce ‖ ChaCha20-Poly1305(key[n], nonce, session; n ‖ scope)
//! ```
//!
//! Nonces are random, because the children cannot count together. A key is safe with random nonces for
//! 2^32 tickets, which is a hundred thousand a second.
//!
//! The cryptography is ring's, whatever `CryptoProvider` the program chooses for its connections: a
//! provider offers no sealing with a key that several processes derive from one secret, and the children of
//! an old and of a new program, which may have different providers, have to open each other's tickets.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::protocol::TicketSecret;

/// The time for which tickets are made with one key.
const EPOCH: Duration = Duration::from_secs(LIFETIME as u64);
/// The lifetime of tickets that clients are told, in seconds.
const LIFETIME: u32 = 12 * 60 * 60;
/// The most epochs (about a hundred years) that one call moves forward, however far ahead the clock is.
const MAX_STEPS: u64 = 100_000;

const KEY_LEN: usize = 32;
type Key = Zeroizing<[u8; KEY_LEN]>;

/// The state of one epoch, from which the states of later epochs are derived.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Ratchet {
    epoch: u64,
    state: Key,
}

/// Leaves the secret out.
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
    /// A new secret.
    pub(crate) fn new(now: SystemTime) -> Result<Self, Unspecified> {
        let mut state = Key::default();
        SystemRandom::new().fill(&mut *state)?;
        Ok(Self { epoch: epoch_of(now).saturating_sub(1), state })
    }

    /// Moves to the epoch before the current one: a child that gets this state can also open the tickets
    /// of the last epoch.
    pub(crate) fn keep_up(&mut self, now: SystemTime) {
        self.advance_to(epoch_of(now).saturating_sub(1));
    }

    /// Never goes back, also when the clock does.
    fn advance_to(&mut self, epoch: u64) {
        let last = epoch.min(self.epoch.saturating_add(MAX_STEPS));
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

    pub(super) fn to_secret(&self) -> TicketSecret {
        TicketSecret { epoch: self.epoch, state: self.state.to_vec() }
    }

    /// `None` if the state has another length.
    pub(super) fn from_secret(TicketSecret { epoch, state }: &TicketSecret) -> Option<Self> {
        Some(Self { epoch: *epoch, state: Key::new(state.as_slice().try_into().ok()?) })
    }
}

/// Makes and opens tickets. See the [module](self).
pub(super) struct Tickets {
    keys: Mutex<Keys>,
    scope: [u8; 32],
    random: SystemRandom,
}

struct Keys {
    /// The state of the epoch in which tickets are made now.
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
    /// `before` is the state of the epoch before the current one, or of an earlier one.
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

    /// The key to open a ticket with. A child whose clock was ahead may have made it.
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
    /// Makes tickets that open in this `scope` only.
    pub(super) fn new(ratchet: Ratchet, scope: [u8; 32]) -> Self {
        Self { keys: Mutex::new(Keys::new(ratchet)), scope, random: SystemRandom::new() }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data that a ticket is authenticated with.
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
    fn ticket_of_another_child_opens() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let (one, other) = (child(&ratchet), child(&ratchet));
        let ticket = one.seal(SESSION, at(0)).unwrap();
        assert!(!ticket.windows(SESSION.len()).any(|window| window == SESSION));
        assert_ne!(one.seal(SESSION, at(0)).unwrap(), ticket, "nonces differ");
        assert_eq!(other.open(&ticket, at(0)).as_deref(), Some(SESSION));
        assert_eq!(one.open(&ticket, at(0)).as_deref(), Some(SESSION));
    }

    #[test]
    fn altered_or_foreign_ticket_does_not_open() {
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
        assert_eq!(elsewhere.open(&ticket, at(0)), None, "another scope");
    }

    #[test]
    fn ticket_opens_in_its_epoch_and_the_next() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let ticket = child(&ratchet).seal(SESSION, at(0)).unwrap();
        let opens = |epoch| child(&ratchet).open(&ticket, at(epoch)).is_some();
        assert!(opens(0) && opens(1));
        assert!(!opens(2) && !opens(3) && !opens(1000));
        let child = child(&ratchet);
        let second = child.seal(SESSION, at(1)).unwrap();
        assert!(child.open(&ticket, at(1)).is_some(), "in a child that moved forward");
        assert!(child.open(&ticket, at(2)).is_none());
        assert!(child.open(&second, at(2)).is_some());
    }

    #[test]
    fn child_started_later_opens_tickets_of_earlier_children() {
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
    fn clock_that_goes_back_changes_nothing() {
        let mut ratchet = Ratchet::new(at(0)).unwrap();
        let one = child(&ratchet);
        let ahead = one.seal(SESSION, at(1)).unwrap();
        assert_eq!(one.seal(SESSION, at(0)).unwrap()[..8], ahead[..8], "the key is not used again");
        assert!(one.open(&ahead, at(0)).is_some());
        assert!(child(&ratchet).open(&ahead, at(0)).is_some(), "in a child whose clock was never ahead");
        let before = ratchet.clone();
        ratchet.keep_up(SystemTime::UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(ratchet, before);
    }

    #[test]
    fn clock_far_ahead_takes_bounded_steps() {
        let mut ratchet = Ratchet::new(SystemTime::UNIX_EPOCH).unwrap();
        ratchet.advance_to(u64::MAX);
        assert_eq!(ratchet.epoch, MAX_STEPS);
    }

    #[test]
    fn secret_round_trips_and_is_not_printed() {
        let ratchet = Ratchet::new(at(0)).unwrap();
        let mut secret = ratchet.to_secret();
        assert_eq!(Ratchet::from_secret(&secret), Some(ratchet.clone()));
        secret.state.pop();
        assert_eq!(Ratchet::from_secret(&secret), None);
        assert_eq!(format!("{ratchet:?}"), "Ratchet { epoch: 39999, .. }");
    }
}
