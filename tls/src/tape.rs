//! What a handshake draws from outside: randomness, key exchange, signatures, time, tickets. It is taped as it is
//! drawn; a successor plays the tape to a handshake that hears the same bytes, and so gets one in the same state. It
//! needs no private key for that.
//!
//! rustls asks for most of this through values that all connections share. So the tape of the connection that is being
//! heard is in a thread-local variable while that lasts, and so are the secrets that rustls shows to its key log.

use std::cell::RefCell;
use std::fmt;

use zeroize::Zeroizing;

use crate::bytes::{Reader, put};

/// A tape has no more: a handshake draws 10 times or so, and once for each ticket that a client offers.
const DRAWS_MAX: usize = 64;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Random = 1,
    KeyExchange = 2,
    Signature = 3,
    Time = 4,
    TicketSealed = 5,
    TicketOpened = 6,
}

struct Draw {
    kind: u8,
    bytes: Zeroizing<Vec<u8>>,
}

/// Whether what is drawn comes from outside, or from the tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Recording,
    /// The next draw is the one with this number.
    Playing(usize),
    /// Something else was drawn than is on the tape.
    Strayed,
}

/// The tape of one handshake.
#[derive(Default)]
pub(crate) struct Tape {
    draws: Vec<Draw>,
    mode: Mode,
    /// rustls holds the private key of an exchange, so what follows cannot be taped.
    holds_key: bool,
    /// More has been drawn than it has room for.
    is_full: bool,
}

/// What one handshake has of its own beside rustls's connection.
#[derive(Default)]
pub(crate) struct Drawn {
    pub(crate) tape: Tape,
    pub(crate) secrets: TrafficSecrets,
}

/// The first secrets of both directions, as the key log of TLS 1.3 tells them: what comes is only kept, never shown.
#[derive(Default)]
pub(crate) struct TrafficSecrets {
    pub(crate) client: Zeroizing<Vec<u8>>,
    pub(crate) server: Zeroizing<Vec<u8>>,
}

thread_local!(static CURRENT: RefCell<Option<Drawn>> = const { RefCell::new(None) });

/// Takes back what was lent to the thread, also if rustls panics.
struct Lent<'a>(&'a mut Drawn);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        *self.0 = CURRENT.take().unwrap_or_default();
    }
}

/// Runs what draws for this handshake.
pub(crate) fn during<R>(drawn: &mut Drawn, run: impl FnOnce() -> R) -> R {
    CURRENT.set(Some(std::mem::take(drawn)));
    let _lent = Lent(drawn);
    run()
}

/// Keeps a secret of the handshake that is running.
pub(crate) fn keep_secrets(keep: impl FnOnce(&mut TrafficSecrets)) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(drawn) = current {
            keep(&mut drawn.secrets);
        }
    });
}

/// rustls begins a key exchange and holds its private key.
pub(crate) fn key_is_held() {
    CURRENT.with_borrow_mut(|current| {
        if let Some(drawn) = current {
            drawn.tape.holds_key = true;
        }
    });
}

/// Where a draw comes from.
enum Source {
    Outside,
    Tape(Zeroizing<Vec<u8>>),
    Nowhere,
}

/// Draws from the tape, or from outside onto it.
///
/// # Errors
/// If it cannot be made, or, with `strayed`, if something else is on the tape.
pub(crate) fn draw<E>(
    kind: Kind,
    strayed: E,
    make: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    let source =
        CURRENT.with_borrow_mut(|current| current.as_mut().map_or(Source::Outside, |drawn| drawn.tape.source(kind)));
    match source {
        Source::Tape(bytes) => return Ok(bytes),
        Source::Nowhere => return Err(strayed),
        Source::Outside => {}
    }
    let bytes = Zeroizing::new(make()?);
    CURRENT.with_borrow_mut(|current| {
        if let Some(drawn) = current {
            drawn.tape.record(kind, &bytes);
        }
    });
    Ok(bytes)
}

impl Tape {
    fn source(&mut self, kind: Kind) -> Source {
        let at = match self.mode {
            Mode::Recording => return Source::Outside,
            Mode::Strayed => return Source::Nowhere,
            Mode::Playing(at) => at,
        };
        match self.draws.get(at) {
            Some(draw) if draw.kind == kind as u8 => {
                self.mode = Mode::Playing(at + 1);
                Source::Tape(draw.bytes.clone())
            }
            _ => {
                self.mode = Mode::Strayed;
                Source::Nowhere
            }
        }
    }

    fn record(&mut self, kind: Kind, bytes: &Zeroizing<Vec<u8>>) {
        if self.draws.len() == DRAWS_MAX {
            self.is_full = true;
        } else {
            self.draws.push(Draw { kind: kind as u8, bytes: bytes.clone() });
        }
    }

    /// Whether rustls holds a private key, which is not on it.
    pub(crate) fn misses_key(&self) -> bool {
        self.holds_key
    }

    /// Whether more was drawn than is on it.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Nothing more is to be taped, and what has been is wiped.
    pub(crate) fn forget(&mut self) {
        self.draws = Vec::new();
    }

    /// Goes on to record, if exactly what is on the tape has been played.
    pub(crate) fn end_playing(&mut self) -> bool {
        let played = self.mode == Mode::Playing(self.draws.len());
        if played {
            self.mode = Mode::Recording;
        }
        played
    }

    /// How many bytes it is [saved](Self::save) as.
    pub(crate) fn saved_bytes(&self) -> usize {
        self.draws.iter().map(|draw| 1 + 4 + draw.bytes.len()).sum()
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        for draw in &self.draws {
            out.push(draw.kind);
            put(out, &draw.bytes);
        }
    }

    /// The tape that is the rest of these bytes, from its beginning.
    pub(crate) fn restore(mut reader: Reader<'_>) -> Option<Self> {
        let mut draws = Vec::new();
        while !reader.is_empty() && draws.len() < DRAWS_MAX {
            let [kind] = reader.array()?;
            draws.push(Draw { kind, bytes: Zeroizing::new(reader.bytes()?.to_vec()) });
        }
        reader.is_empty().then_some(Self { draws, mode: Mode::Playing(0), ..Self::default() })
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("draws", &self.draws.len()).field("mode", &self.mode).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(kind: Kind, value: u8) -> Result<Vec<u8>, ()> {
        draw(kind, (), || Ok(vec![value])).map(|bytes| bytes.to_vec())
    }

    /// A tape with a random 1 and a time 2, from its beginning.
    fn recorded() -> Drawn {
        let mut recording = Drawn::default();
        during(&mut recording, || {
            drawn(Kind::Random, 1).unwrap();
            drawn(Kind::Time, 2).unwrap();
        });
        let mut saved = Vec::new();
        recording.tape.save(&mut saved);
        Drawn { tape: Tape::restore(Reader(&saved)).unwrap(), ..Drawn::default() }
    }

    #[test]
    fn what_was_drawn_is_drawn_again_and_then_from_outside() {
        let mut playing = recorded();
        let played = during(&mut playing, || [drawn(Kind::Random, 7), drawn(Kind::Time, 8)]);
        assert_eq!(played, [Ok(vec![1]), Ok(vec![2])]);
        assert!(playing.tape.end_playing());
        assert_eq!(during(&mut playing, || drawn(Kind::Random, 9)), Ok(vec![9]));
    }

    #[test]
    fn nothing_is_drawn_that_is_not_on_the_tape() {
        let mut another = recorded();
        assert_eq!(during(&mut another, || [drawn(Kind::Time, 7), drawn(Kind::Random, 7)]), [Err(()), Err(())]);
        assert!(!another.tape.end_playing());
        let mut longer = recorded();
        let played = during(&mut longer, || {
            [drawn(Kind::Random, 7), drawn(Kind::Time, 7), drawn(Kind::Time, 7)].map(|draw| draw.is_ok())
        });
        assert_eq!(played, [true, true, false]);
        assert!(!longer.tape.end_playing());
        let mut shorter = recorded();
        during(&mut shorter, || drawn(Kind::Random, 7)).unwrap();
        assert!(!shorter.tape.end_playing());
    }

    #[test]
    fn a_tape_that_is_full_says_so() {
        let mut recording = Drawn::default();
        during(&mut recording, || (0..DRAWS_MAX).for_each(|_| drop(drawn(Kind::Random, 1))));
        assert!(!recording.tape.is_full());
        during(&mut recording, || drawn(Kind::Random, 1)).unwrap();
        assert!(recording.tape.is_full() && recording.tape.draws.len() == DRAWS_MAX);
    }

    #[test]
    fn a_tape_stays_with_its_handshake_when_rustls_panics() {
        let mut recording = Drawn::default();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            during(&mut recording, || {
                drawn(Kind::Random, 1).unwrap();
                panic!("as rustls might");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(recording.tape.draws.len(), 1);
        assert!(CURRENT.with_borrow(Option::is_none));
    }
}
