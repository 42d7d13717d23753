//! Who an event is for, as a token.

use mio::Token;

use crate::fleet::WorkerId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    /// A listener, by its place.
    Listener(usize),
    /// A worker's end of its queue, or where it says that it is ready. Ids are used once, so an event never reaches
    /// another one.
    Worker(WorkerId),
}

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        Self(match source {
            Source::Signals => 0,
            Source::Listener(place) => 1 + 2 * place,
            Source::Worker(WorkerId(id)) => 2 + 2 * usize::try_from(id).expect("a token has 64 bits"),
        })
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Self {
        match token {
            0 => Self::Signals,
            token if token % 2 == 1 => Self::Listener((token - 1) / 2),
            token => Self::Worker(WorkerId((token - 2) as u64 / 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_token_was_made_for_is_found_again() {
        let listeners = [0, 1, 1000].map(Source::Listener);
        let workers = [1, 2, u64::MAX >> 2].map(|id| Source::Worker(WorkerId(id)));
        for source in [Source::Signals].into_iter().chain(listeners).chain(workers) {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
