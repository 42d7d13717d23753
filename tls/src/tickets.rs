//! Session tickets (RFC 8446 section 4.6.1, RFC 5077): sealed with keys that travel, so that clients resume at the
//! successor.
//!
//! A ticket takes the place of the client's certificate when a connection is resumed. So what it is sealed for is the
//! configuration of client authentication, too: where another one is asked for, it is worth nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::UnixTime;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use crate::bytes::Reader;
use crate::tape::{Kind, draw};

/// So long a ticket is good at least, and what clients are told. RFC 8446 section 4.6.1 allows 7 days.
const LIFETIME_S: u64 = 12 * 60 * 60;

/// So long a key seals. Nonces are random: below 2^32 tickets with one key (RFC 5116 section 3.2), which is 190,000 a
/// second.
const SEALING_S: u64 = 6 * 60 * 60;

/// So long a key opens, from when it was made.
const OPENING_S: u64 = SEALING_S + LIFETIME_S;

/// One more than can be good at a time.
const KEYS_MAX: usize = (OPENING_S / SEALING_S) as usize + 1;

const NAME_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// How the bytes are laid out. Another layout gets another number.
const LAYOUT: u8 = 1;

/// What authenticates a ticket beside its content: what it is sealed for.
pub(crate) type Binding = [u8; 32];

/// The keys of all tickets of a server. One that has sealed for six hours is followed by another, and opens for twelve
/// hours more.
pub struct TicketKeys(Mutex<Vec<Key>>);

/// The last one seals.
struct Key {
    name: [u8; NAME_BYTES],
    key: Zeroizing<[u8; KEY_BYTES]>,
    /// Seconds since 1970.
    made_at_s: u64,
}

/// There is no randomness to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random numbers")
    }
}

impl std::error::Error for NoRandomness {}

impl TicketKeys {
    /// Keys of its own, which nobody else has.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new() -> Result<Self, NoRandomness> {
        let first = Key::new(UnixTime::now().as_secs())?;
        Ok(Self(Mutex::new(vec![first])))
    }

    /// All keys, for a successor: in clear, and wiped when dropped.
    #[must_use]
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        let keys = self.lock();
        let mut saved = Zeroizing::new(Vec::with_capacity(1 + keys.len() * (NAME_BYTES + KEY_BYTES + 8)));
        saved.push(LAYOUT);
        for key in keys.iter() {
            saved.extend_from_slice(&key.name);
            saved.extend_from_slice(&*key.key);
            saved.extend_from_slice(&key.made_at_s.to_be_bytes());
        }
        saved
    }

    /// Goes on with the keys that a predecessor has [saved](Self::save), instead of its own. Whether they were such; if
    /// not, nothing changes.
    #[must_use]
    pub fn adopt(&self, saved: &[u8]) -> bool {
        read(saved).map(|keys| *self.lock() = keys).is_some()
    }

    /// The same, if these are the keys of whose keys this has adopted before, as they are by now: one of them is known.
    #[must_use]
    pub fn follow(&self, saved: &[u8]) -> bool {
        let mut known = self.lock();
        let is_known = |key: &Key| known.iter().any(|known| known.name == key.name);
        let keys = read(saved).filter(|keys| keys.iter().any(is_known));
        keys.map(|keys| *known = keys).is_some()
    }

    /// The name of the key that seals: when there is another one, there is something to be told.
    #[must_use]
    pub fn sealing(&self) -> [u8; NAME_BYTES] {
        self.lock().last().map(|key| key.name).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Key>> {
        // Who panicked did not leave anything half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ticket of this content, at this time.
    fn seal(&self, binding: &Binding, plain: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let mut keys = self.lock();
        rotate(&mut keys, now_s);
        let key = keys.last().filter(|key| key.seals(now_s))?;
        let nonce = random::<NONCE_BYTES>().ok()?;
        // Room for all of it, so that no piece of the content is left where it was too small.
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_BYTES + plain.len() + TAG_BYTES);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let (aad, content) = (key.aad(binding), &mut ticket[NAME_BYTES + NONCE_BYTES..]);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.aead().seal_in_place_separate_tag(nonce, Aad::from(aad), content).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// What a ticket holds, if one of the keys that are still good sealed it for the same.
    fn open(&self, binding: &Binding, ticket: &[u8], now_s: u64) -> Option<Vec<u8>> {
        let mut reader = Reader(ticket);
        let (name, nonce) = (reader.array::<NAME_BYTES>()?, reader.array()?);
        let keys = self.lock();
        let key = keys.iter().find(|key| key.name == name && key.opens(now_s))?;
        let mut sealed = Zeroizing::new(reader.0.to_vec());
        let aad = Aad::from(key.aad(binding));
        Some(key.aead().open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?.to_vec())
    }
}

/// Makes another key when the last one has sealed long enough, and drops those that open no more; but for the last one, by whose name those
/// who [follow](TicketKeys::follow) know whose the next one is.
fn rotate(keys: &mut Vec<Key>, now_s: u64) {
    let last = keys.last().map(|key| key.name);
    keys.retain(|key| key.opens(now_s) || last == Some(key.name));
    if keys.last().is_some_and(|key| key.seals(now_s)) {
        return;
    }
    if let Ok(key) = Key::new(now_s) {
        keys.push(key);
        let surplus = keys.len().saturating_sub(KEYS_MAX);
        keys.drain(..surplus);
    }
}

fn read(saved: &[u8]) -> Option<Vec<Key>> {
    let mut reader = Reader(saved);
    (reader.array()? == [LAYOUT]).then_some(())?;
    let mut keys = Vec::new();
    while !reader.is_empty() {
        let name = reader.array()?;
        let key = Zeroizing::new(reader.array()?);
        keys.push(Key { name, key, made_at_s: u64::from_be_bytes(reader.array()?) });
    }
    (1..=KEYS_MAX).contains(&keys.len()).then_some(keys)
}

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

impl Key {
    fn new(made_at_s: u64) -> Result<Self, NoRandomness> {
        Ok(Self { name: random()?, key: Zeroizing::new(random()?), made_at_s })
    }

    /// A clock that was set back ends a key, too: nobody knows how long it has sealed.
    fn seals(&self, now_s: u64) -> bool {
        now_s.checked_sub(self.made_at_s).is_some_and(|age_s| age_s < SEALING_S)
    }

    /// A little in the future is the clock of another process, or was set back.
    fn opens(&self, now_s: u64) -> bool {
        self.made_at_s.abs_diff(now_s) < OPENING_S
    }

    fn aad(&self, binding: &Binding) -> [u8; NAME_BYTES + 32] {
        let mut aad = [0; NAME_BYTES + 32];
        aad[..NAME_BYTES].copy_from_slice(&self.name);
        aad[NAME_BYTES..].copy_from_slice(binding);
        aad
    }

    fn aead(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &*self.key).expect("the key is as long as the cipher's"))
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKeys")
    }
}

/// The tickets of one configuration.
pub(crate) struct Ticketer {
    pub(crate) keys: Arc<TicketKeys>,
    pub(crate) binding: Binding,
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticketer")
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now_s = UnixTime::now().as_secs();
        draw(Kind::TicketSealed, (), || self.keys.seal(&self.binding, plain, now_s).ok_or(()))
            .ok()
            .map(|ticket| ticket.to_vec())
    }

    /// What cannot be opened is taped as nothing, which no ticket holds.
    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let now_s = UnixTime::now().as_secs();
        let open = || Ok(self.keys.open(&self.binding, cipher, now_s).unwrap_or_default());
        draw(Kind::TicketOpened, (), open).ok().map(|plain| plain.to_vec()).filter(|plain| !plain.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Binding = [1; 32];
    const NOW_S: u64 = 1_800_000_000;

    fn keys() -> TicketKeys {
        TicketKeys(Mutex::new(vec![Key::new(NOW_S).unwrap()]))
    }

    #[test]
    fn a_ticket_is_good_for_its_lifetime_whenever_it_was_sealed() {
        for sealed_at_s in [NOW_S, NOW_S + SEALING_S - 1, NOW_S + SEALING_S, NOW_S + 7 * SEALING_S] {
            let keys = keys();
            let ticket = keys.seal(&HERE, b"secret", sealed_at_s).unwrap();
            for now_s in (0..=LIFETIME_S).step_by(600).map(|after_s| sealed_at_s + after_s) {
                keys.seal(&HERE, b"another", now_s).unwrap();
                assert_eq!(keys.open(&HERE, &ticket, now_s).as_deref(), Some(&b"secret"[..]));
                assert!(keys.lock().len() <= KEYS_MAX);
            }
            assert_eq!(keys.open(&HERE, &ticket, sealed_at_s + OPENING_S), None);
        }
    }

    #[test]
    fn a_ticket_is_good_only_for_what_it_was_sealed_for() {
        let keys = keys();
        let ticket = keys.seal(&HERE, b"secret", NOW_S).unwrap();
        assert_eq!(keys.open(&[2; 32], &ticket, NOW_S), None);
        assert_eq!(super::tests::keys().open(&HERE, &ticket, NOW_S), None);
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(keys.open(&HERE, &damaged, NOW_S), None);
            assert_eq!(keys.open(&HERE, &ticket[..at], NOW_S), None);
        }
    }

    #[test]
    fn keys_travel_to_a_successor() {
        let (predecessor, successor) = (keys(), keys());
        let before = predecessor.seal(&HERE, b"before", NOW_S).unwrap();
        let later = predecessor.seal(&HERE, b"later", NOW_S + SEALING_S).unwrap();
        assert!(successor.adopt(&predecessor.save()));
        for (ticket, content) in [(before, &b"before"[..]), (later, b"later")] {
            assert_eq!(successor.open(&HERE, &ticket, NOW_S + SEALING_S).as_deref(), Some(content));
        }
        for damaged in [&[][..], &[LAYOUT], &[LAYOUT + 1, 0], &predecessor.save()[..40], &[0; 500]] {
            assert!(!successor.adopt(damaged));
        }
        assert!(successor.open(&HERE, &successor.seal(&HERE, b"after", NOW_S).unwrap(), NOW_S).is_some());
    }

    #[test]
    fn whoever_follows_has_the_keys_as_they_are_by_now_and_nobody_elses() {
        let (active, standby, other) = (keys(), keys(), keys());
        assert!(standby.adopt(&active.save()));
        let before = active.sealing();
        let later = active.seal(&HERE, b"later", NOW_S + SEALING_S).unwrap();
        assert_ne!(active.sealing(), before);
        assert!(!standby.follow(&other.save()) && !standby.follow(&active.save()[..40]));
        assert_eq!((standby.sealing(), standby.open(&HERE, &later, NOW_S + SEALING_S)), (before, None));
        assert!(standby.follow(&active.save()));
        assert_eq!(standby.open(&HERE, &later, NOW_S + SEALING_S).as_deref(), Some(&b"later"[..]));

        // Nobody has come for so long that no key was good any more.
        let much_later_s = NOW_S + 10 * OPENING_S;
        let much_later = active.seal(&HERE, b"much later", much_later_s).unwrap();
        assert!(standby.follow(&active.save()));
        assert_eq!(standby.open(&HERE, &much_later, much_later_s).as_deref(), Some(&b"much later"[..]));
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_tickets_good() {
        let keys = keys();
        let ticket = keys.seal(&HERE, b"secret", NOW_S).unwrap();
        let before_s = NOW_S - 60;
        let another = keys.seal(&HERE, b"another", before_s).unwrap();
        assert_ne!(ticket[..NAME_BYTES], another[..NAME_BYTES]);
        assert!(keys.open(&HERE, &ticket, before_s).is_some() && keys.open(&HERE, &another, before_s).is_some());
    }
}
