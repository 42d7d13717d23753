//! The right to own the peers when the process that serves them is dead, or has nothing more to do with them. Whoever serves gives it
//! to its standby, and lets whoever takes over have it instead.
//!
//! It is a word in memory that all three have, and each change of it is one atomic step. So at no time two processes have it, whoever
//! of them is stopped or killed, and whenever.
//!
//! ```text
//!               claim ┌▶ claimed          the standby's, for good: the active is dead, or is killed since it hangs (if it can be)
//!   lent ─────────────┤
//!                     ├▶ passed on ─────▶ the successor's, which sends Accept, or finds the active dead
//!             pass on │       │
//!                     └───────┴▶ taken back   nobody's: the active lives, and serves on
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use log::error;
use nix::sys::signal::{Signal, raise};

use crate::shared_memory::SharedMemory;

/// Whose it is.
const LENT: u32 = 0;
const CLAIMED: u32 = 1;
const PASSED_ON: u32 = 2;
const TAKEN_BACK: u32 = 3;

/// A page, of which one word is used.
const BYTES: usize = 4096;
const WORD: usize = 0;

/// The giver's side.
#[derive(Debug)]
pub(crate) struct Licensor {
    memory: SharedMemory,
    file: OwnedFd,
}

impl Licensor {
    /// # Errors
    /// If there is no memory for it.
    pub(crate) fn new() -> io::Result<Self> {
        let (memory, file) = SharedMemory::new("reactord licence", BYTES)?;
        Ok(Self { memory, file })
    }

    /// What whoever gets the licence is to be sent.
    pub(crate) fn licence(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Nobody else may own the peers from here on. Where whoever follows has set about it already, this process ends: that is what is about
    /// to be done to it, and to serve on, or to give somebody else a licence, would be to have two owners.
    pub(crate) fn take_back_or_die(&self) {
        if !self.takes_back() {
            error!("This process did not turn its loop for so long that its standby serves on: it is killed");
            raise(Signal::SIGKILL).expect("a process may signal itself");
        }
    }

    /// False if whoever follows has set about it already, which it may go on with.
    fn takes_back(&self) -> bool {
        let unless_claimed = |word| (word != CLAIMED).then_some(TAKEN_BACK);
        self.memory.half_word(WORD).fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_claimed).is_ok()
    }

    /// Whether whoever follows has none any more.
    pub(crate) fn is_taken_back(&self) -> bool {
        self.memory.half_word(WORD).load(Ordering::Acquire) == TAKEN_BACK
    }
}

impl Drop for Licensor {
    /// Nobody who does not follow this process any more serves on after its death. A process that is killed drops nothing, and one that
    /// panics takes nothing back: that is a death, too.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.take_back_or_die();
        }
    }
}

/// The licence, as one of the two sees it who may get it.
#[derive(Debug)]
pub(crate) struct Licence(SharedMemory);

impl Licence {
    /// # Errors
    /// If it is none.
    pub(crate) fn of(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self(SharedMemory::of(descriptor, BYTES)?))
    }

    fn word(&self) -> &AtomicU32 {
        self.0.half_word(WORD)
    }

    fn change(&self, from: u32, to: u32) -> bool {
        self.word().compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    // ── The standby ────────────────────────────────────────────────────────────────────────────────────────────────

    /// Whether it could be claimed.
    #[cfg(test)]
    pub(crate) fn is_lent(&self) -> bool {
        self.word().load(Ordering::Acquire) == LENT
    }

    /// Nobody but this standby owns the peers from here on, as soon as the active is dead. False if it may not; true if it has done
    /// that before.
    pub(crate) fn claim(&self) -> bool {
        self.change(LENT, CLAIMED) || self.is_claimed()
    }

    /// The active lives, and cannot be killed: it owns the peers on.
    pub(crate) fn forgo(&self) {
        self.change(CLAIMED, LENT);
    }

    // ── The successor ──────────────────────────────────────────────────────────────────────────────────────────────

    /// The standby does not own the peers from here on, also if the predecessor is dead before it hears Accept. False if this
    /// successor may not own them.
    pub(crate) fn pass_on(&self) -> bool {
        self.change(LENT, PASSED_ON)
    }

    /// Whether the standby has it.
    pub(crate) fn is_claimed(&self) -> bool {
        self.word().load(Ordering::Acquire) == CLAIMED
    }

    /// Whether this successor has it still: if the channel has ended by then, that was not the predecessor's doing, which takes it back
    /// first, but its death.
    pub(crate) fn is_passed_on(&self) -> bool {
        self.word().load(Ordering::Acquire) == PASSED_ON
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licence(of: &Licensor) -> Licence {
        Licence::of(of.licence().try_clone_to_owned().unwrap()).unwrap()
    }

    #[test]
    fn a_licence_is_good_until_it_is_taken_back() {
        let licensor = Licensor::new().unwrap();
        let licence = licence(&licensor);
        assert!(licence.is_lent());
        drop(licensor);
        assert!(!licence.is_lent() && !licence.claim() && !licence.pass_on());
    }

    #[test]
    fn one_of_two_has_it() {
        let licensor = Licensor::new().unwrap();
        let (standby, successor) = (licence(&licensor), licence(&licensor));
        assert!(successor.pass_on() && successor.is_passed_on());
        assert!(!standby.claim() && !standby.is_lent());
        assert!(licensor.takes_back(), "the successor has it, and nobody is killed for that");
        assert!(!successor.is_passed_on());
        let licensor = Licensor::new().unwrap();
        let (standby, successor) = (licence(&licensor), licence(&licensor));
        assert!(standby.claim() && standby.claim());
        assert!(!successor.pass_on() && successor.is_claimed());
        standby.forgo();
        assert!(standby.is_lent() && licensor.takes_back());
    }

    #[test]
    fn two_who_want_it_at_once_do_not_both_get_it() {
        for _ in 0..200 {
            let licensor = Licensor::new().unwrap();
            let (standby, successor) = (licence(&licensor), licence(&licensor));
            let start = std::sync::Barrier::new(2);
            let (claimed, passed_on) = std::thread::scope(|scope| {
                let claims = scope.spawn(|| {
                    start.wait();
                    standby.claim()
                });
                start.wait();
                (successor.pass_on(), claims.join().unwrap())
            });
            assert!(claimed != passed_on);
            standby.forgo();
        }
    }

    #[test]
    fn who_has_been_found_to_hang_learns_that_it_is_to_end() {
        let licensor = Licensor::new().unwrap();
        let standby = licence(&licensor);
        assert!(standby.claim() && !licensor.takes_back());
        assert!(standby.claim(), "it serves on, when this process has ended");
        standby.forgo();
    }

    #[test]
    fn who_panics_takes_nothing_back() {
        let licensor = Licensor::new().unwrap();
        let licence = licence(&licensor);
        let panicked = std::thread::spawn(move || {
            let _licensor = licensor;
            panic!("as a service may");
        });
        assert!(panicked.join().is_err() && licence.is_lent());
    }
}
