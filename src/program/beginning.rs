//! How a server program begins to serve: with nobody, or with the peers of another process.

use std::path::{Path, PathBuf};

use log::debug;

use crate::{
    Config, Error, Inheritance, Offer, Outcome, PathError, Server, Services, Status, StreamService, Successor,
    TakeoverError, With, become_user_of, is_served,
};

/// How often somebody who serves or takes over tries the one and the other, while others come and go.
const TRIES_MAX: usize = 10;

/// How somebody who listens and serves begins.
#[derive(Debug, PartialEq, Eq)]
pub enum Begins {
    /// With nobody.
    Anew,
    /// With the peers of the server that has started this process.
    AsTold(Inheritance),
    /// With the peers of whoever serves on the takeover path, or with nobody.
    OrTakesOver,
}

/// Whom to take over from.
#[derive(Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// Whoever answers on this path.
    On(PathBuf),
    /// Whoever answers on this path, when it has died: until then it is followed.
    FollowedOn(PathBuf),
    /// The server that has started this process.
    Starter(Inheritance),
}

impl Predecessor {
    /// Whether it is followed until it has died.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        match self {
            Self::On(_) => false,
            Self::FollowedOn(_) => true,
            Self::Starter(inheritance) => inheritance.follows(),
        }
    }

    /// Where it is called.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::On(path) | Self::FollowedOn(path) => path,
            Self::Starter(inheritance) => inheritance.path(),
        }
    }
}

/// Listens and serves, with those whom another server has if that is how it begins. `server` makes the server of its
/// configuration, once for each try.
///
/// # Errors
/// As [`Server::serve`] and [`Server::take_over`].
pub fn serve<S: StreamService, Before: Services>(
    config: &Config,
    begins: &Begins,
    server: impl Fn(Config) -> Server<With<S, Before>>,
) -> Result<Outcome, Error> {
    let server = || server(config.clone());
    match (begins, &config.takeover_path) {
        (Begins::AsTold(inheritance), _) => server().take_over_as_told(inheritance),
        (Begins::OrTakesOver, Some(path)) => serve_or_take_over(path, server),
        _ => server().serve(),
    }
}

/// Takes over if somebody serves on the path, and serves if nobody does. Between the look and the deed another may have come
/// or gone.
fn serve_or_take_over<S: StreamService, Before: Services>(
    path: &Path,
    server: impl Fn() -> Server<With<S, Before>>,
) -> Result<Outcome, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let outcome = match is_served(path) {
            true => {
                wait_until_it_listens(path);
                become_user_of(path).map_err(Error::Takeover).and_then(|()| server().take_over(path))
            }
            false => server().serve(),
        };
        let is_overtaken = match &outcome {
            Err(Error::Takeover(error)) => error.nobody_answers(),
            Err(Error::TakeoverPath(error)) => matches!(error, PathError::Alive { .. }),
            _ => false,
        };
        if !is_overtaken || tries == TRIES_MAX {
            return outcome;
        }
    }
}

/// Waits until whoever has the path answers: it has the path before it has its addresses, and a successor that listens there
/// before it calls would take them away from it.
fn wait_until_it_listens(path: &Path) {
    if let Err(error) = Status::of(path) {
        // The takeover will meet the same, and says so.
        debug!("{error}");
    }
}

/// Calls the predecessor, as the user that it is.
///
/// # Errors
/// As [`Successor::call`].
pub fn call(predecessor: &Predecessor, offers: &[Offer]) -> Result<Successor, TakeoverError> {
    match predecessor {
        Predecessor::Starter(inheritance) => Successor::call_as_told(inheritance, offers),
        Predecessor::On(path) => Successor::call_as_its_user(path, offers),
        Predecessor::FollowedOn(path) => Successor::call_to_follow_as_its_user(path, offers),
    }
}
