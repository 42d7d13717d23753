//! Bytes among which there may be secrets, on their way from one process to another. What would be left of them is wiped: where
//! they grow out of their memory, where some of them are taken off, and when they are dropped.

use std::collections::TryReserveError;
use std::convert::Infallible;
use std::fmt;
use std::ops::Deref;

use minicbor::encode::Write;
use zeroize::Zeroize;

/// Some of them. Wiping takes as long as sending them; so nothing is wiped before it is [said](Self::hold_secrets) that there
/// are secrets.
#[derive(Default, PartialEq, Eq)]
pub struct Wiped {
    bytes: Vec<u8>,
    holds_secrets: bool,
}

impl Wiped {
    /// There are secrets among them, or among those that come.
    pub fn hold_secrets(&mut self) {
        self.holds_secrets = true;
    }

    /// Whether that was said.
    #[must_use]
    pub fn holds_secrets(&self) -> bool {
        self.holds_secrets
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// If there is no memory for them; then nothing has changed.
    #[inline]
    pub fn try_append(&mut self, bytes: &[u8]) -> Result<(), TryReserveError> {
        // Most are a byte or nine, where there is room.
        if self.bytes.capacity() - self.bytes.len() < bytes.len() {
            self.grow(bytes.len())?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes room for so many bytes more.
    fn grow(&mut self, more: usize) -> Result<(), TryReserveError> {
        if !self.holds_secrets {
            return self.bytes.try_reserve(more);
        }
        let mut grown = Vec::new();
        grown.try_reserve(2 * self.bytes.len() + more)?;
        grown.extend_from_slice(&self.bytes);
        self.bytes.zeroize();
        self.bytes = grown;
        Ok(())
    }

    /// Takes so many off the front.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn take_off(&mut self, count: usize) {
        let bytes = self.bytes.len();
        self.bytes.drain(..count);
        if self.holds_secrets {
            // What has moved to the front is still behind the end.
            self.bytes.resize(bytes, 0);
            self.bytes.truncate(bytes - count);
        }
    }

    /// Takes all of them off, and gives back their memory.
    pub fn give_back(&mut self) {
        if self.holds_secrets {
            self.bytes.zeroize();
        }
        self.bytes = Vec::new();
    }

    /// The same bytes, some of which are changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// A copy of the bytes from one place to another, which holds secrets if these do.
    pub(crate) fn copy(&self, range: std::ops::Range<usize>) -> Self {
        Self { bytes: self.bytes[range].to_vec(), holds_secrets: self.holds_secrets }
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, holds_secrets: false }
    }
}

impl From<Wiped> for Vec<u8> {
    fn from(mut wiped: Wiped) -> Self {
        std::mem::take(&mut wiped.bytes)
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Write for Wiped {
    type Error = Infallible;

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.try_append(bytes).expect("there is memory for what is about to be sent");
        Ok(())
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        if self.holds_secrets {
            self.bytes.zeroize();
        }
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wiped({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<u8>),
        TakeOff(usize),
        GiveBack,
        HoldSecrets,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(Step::Append),
            4 => (0..200usize).prop_map(Step::TakeOff),
            1 => Just(Step::GiveBack),
            1 => Just(Step::HoldSecrets),
        ]
    }

    proptest! {
        #[test]
        fn they_are_what_was_appended_and_not_taken_off(steps in proptest::collection::vec(step(), 0..60)) {
            let (mut wiped, mut expected) = (Wiped::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        wiped.try_append(&bytes).unwrap();
                        expected.extend(bytes);
                    }
                    Step::TakeOff(count) => {
                        let count = count.min(expected.len());
                        wiped.take_off(count);
                        expected.drain(..count);
                    }
                    Step::GiveBack => {
                        wiped.give_back();
                        expected.clear();
                    }
                    Step::HoldSecrets => wiped.hold_secrets(),
                }
                prop_assert_eq!(&*wiped, &expected[..]);
            }
        }
    }
}
