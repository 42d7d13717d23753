//! Whether there is memory for what is to be sent or has arrived.

use std::fmt;

/// Whether so many bytes could be had now. To ask for them ends a conversation if they cannot; to be refused them in the
/// middle of something would end the process.
///
/// # Errors
/// If they could not.
pub fn spare(bytes: usize) -> Result<(), Shortage> {
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Shortage { bytes })
}

/// There is no memory for what is to be sent or has arrived.
#[derive(Debug)]
pub struct Shortage {
    /// For so much of it.
    pub bytes: usize,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no memory for {} more bytes", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_refused_with_its_number() {
        spare(1 << 20).unwrap();
        let error = spare(usize::MAX / 4).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no memory for {} more bytes", usize::MAX / 4));
    }
}
