//! Who an event is for, as a token.

use mio::Token;

use crate::fleet::WorkerId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Signals,
    /// What a binary says that is tried out.
    Trial,
    /// A listener, by its place.
    Listener(usize),
    /// Somebody who asks something of the supervisor, by its key; 0 is the path itself.
    Caller(usize),
    /// A worker's end of its queue, or where it says that it is ready. Ids are used once, so an event never reaches
    /// another one.
    Worker(WorkerId),
}

impl From<Source> for Token {
    fn from(source: Source) -> Self {
        Self(match source {
            Source::Signals => 0,
            // As a worker's it would be of the last id that there is.
            Source::Trial => usize::MAX,
            Source::Listener(place) => 1 + 3 * place,
            Source::Caller(key) => 2 + 3 * key,
            Source::Worker(WorkerId(id)) => 3 + 3 * usize::try_from(id).expect("a token has 64 bits"),
        })
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Self {
        match token {
            0 => Self::Signals,
            usize::MAX => Self::Trial,
            token if token % 3 == 1 => Self::Listener((token - 1) / 3),
            token if token % 3 == 2 => Self::Caller((token - 2) / 3),
            token => Self::Worker(WorkerId((token - 3) as u64 / 3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_token_was_made_for_is_found_again() {
        let listeners = [0, 1, 1000].map(Source::Listener);
        let callers = [0, 1, 1000].map(Source::Caller);
        let workers = [1, 2, u64::MAX >> 2].map(|id| Source::Worker(WorkerId(id)));
        for source in [Source::Signals, Source::Trial].into_iter().chain(listeners).chain(callers).chain(workers) {
            assert_eq!(Source::from(Token::from(source)), source);
        }
    }
}
