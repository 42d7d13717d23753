//! What the proxy knows of one connection, and how a successor is told.

use std::fmt;
use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use reactord::{PeerId, RestoreError};

use super::refusal::Refusal;
use super::roll::{Roll, Rolled};
use crate::proxy_header::{Addresses, Says};

/// What the proxy knows of one connection. There are two for each client, so this is small.
#[derive(Debug)]
pub enum Session {
    /// A client that is not connected on yet.
    Coming(Box<Coming>),
    /// A client that is joined to a server.
    Client(Client),
    /// The same, of which more is known than its socket tells.
    Told(Box<(Client, Told)>),
    /// A connection to a server, for a client.
    Server(Served),
    /// A connection to a server, to see whether that is up. No successor hears of it.
    Check(Box<Probe>),
    /// A client's, which is in the hands of the call that is under way.
    InHand,
}

/// A client that is joined to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// When it was accepted: ms since 1970.
    pub(super) accepted_ms: u64,
    /// To which server that leads.
    pub(super) to: Rolled,
    /// From when it was accepted to when it was connected on.
    pub(super) connect_ms: u32,
    /// Where it has come in.
    pub(super) listener: Rolled,
    /// How many other connections were tried before.
    pub(super) retries: u8,
    /// Whether it is to end, or has been made to.
    pub(super) leaving: Leaving,
    /// One of the two directions has ended.
    pub(super) is_half_closed: bool,
    /// How many processes it has gone through.
    pub(super) takeovers: u8,
}

/// Why a client that is joined is to end, or has been made to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) enum Leaving {
    /// It is not.
    #[default]
    #[n(0)]
    No,
    /// Its listener or its server is gone from the file.
    #[n(1)]
    Removed,
    /// Its server has failed its checks.
    #[n(2)]
    Down,
    /// An operator has closed its server.
    #[n(3)]
    Closed,
    /// The host of its server does not answer any more.
    #[n(4)]
    Vanished,
    /// Its server has broken TLS, or was cut off.
    #[n(5)]
    BrokenTls,
}

/// What a client has told of itself before it was joined to a server, or another proxy of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Told {
    #[n(0)]
    pub(super) origin: Origin,
    /// The proxy that has told where it comes from.
    #[n(1)]
    pub(super) passed_on_by: Option<SocketAddr>,
    /// The name that it has asked for.
    #[n(2)]
    pub(super) server_name: Option<Box<str>>,
}

/// A connection to a server, for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    pub(super) client: PeerId,
    pub(super) to: Rolled,
}

/// Where a client comes from and what it has connected to, as a PROXY header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Origin {
    #[n(0)]
    pub(super) source: Option<SocketAddr>,
    #[n(1)]
    pub(super) destination: Option<SocketAddr>,
}

/// A client that is not connected on yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coming {
    pub(super) listener: Rolled,
    pub(super) accepted_ms: u64,
    /// Where it comes from and what it has connected to: what its socket tells, until a header tells otherwise.
    pub(super) told: Told,
    pub(super) stage: Stage,
    /// The name of where it is led, once that is known.
    pub(super) upstream: Option<Box<str>>,
    /// The servers that were tried in vain.
    pub(super) tried: Vec<Rolled>,
    /// The last of them was not reached in time.
    pub(super) has_timed_out: bool,
    /// It has said something that is for the server.
    pub(super) has_spoken: bool,
}

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its PROXY header is awaited.
    Header,
    /// Its ClientHello is awaited.
    Hello,
    /// A server with room is awaited.
    Queued,
    /// This connection is being opened for it.
    Connecting { server: PeerId },
    /// All servers were tried in vain, and will be again.
    Resting,
    /// It is being let go.
    Refused(Refusal),
}

/// A check that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub(super) of: Rolled,
    /// Whether what the server has said, or that it was reached, is as it should be, once that is known.
    pub(super) passed: Option<bool>,
}

/// A session as a successor is told of it: by names, since its numbers are others.
#[derive(Encode, Decode)]
enum Saved<'r> {
    #[n(0)]
    Coming {
        #[b(0)]
        listener: &'r str,
        #[n(1)]
        accepted_ms: u64,
        #[n(2)]
        told: Told,
        #[n(3)]
        stage: SavedStage,
        #[b(4)]
        upstream: Option<&'r str>,
        #[b(5)]
        tried: Vec<&'r str>,
        #[n(6)]
        has_timed_out: bool,
        #[n(7)]
        has_spoken: bool,
    },
    #[n(1)]
    Client {
        #[n(0)]
        accepted_ms: u64,
        #[b(1)]
        to: &'r str,
        #[n(2)]
        connect_ms: u32,
        #[b(3)]
        listener: &'r str,
        #[n(4)]
        retries: u8,
        #[n(5)]
        told: Option<Told>,
        #[n(6)]
        leaving: Leaving,
        #[n(7)]
        is_half_closed: bool,
        #[n(8)]
        takeovers: u8,
    },
    #[n(2)]
    Server {
        #[n(0)]
        client: u64,
        #[b(1)]
        to: &'r str,
    },
}

#[derive(Clone, Copy, Encode, Decode)]
enum SavedStage {
    #[n(0)]
    Header,
    #[n(1)]
    Hello,
    #[n(2)]
    Queued,
    #[n(3)]
    Connecting {
        #[n(0)]
        server: u64,
    },
    #[n(4)]
    Resting,
    #[n(5)]
    Refused {
        #[n(0)]
        why: u8,
    },
}

impl Session {
    /// The client, and what more is known of it, if it is one that is joined.
    pub(super) fn client(&self) -> Option<(&Client, Option<&Told>)> {
        match self {
            Self::Client(client) => Some((client, None)),
            Self::Told(told) => Some((&told.0, Some(&told.1))),
            Self::Coming(_) | Self::Server(_) | Self::Check(_) | Self::InHand => None,
        }
    }

    /// The client, if it is one that is joined.
    pub(super) fn client_mut(&mut self) -> Option<&mut Client> {
        match self {
            Self::Client(client) => Some(client),
            Self::Told(told) => Some(&mut told.0),
            Self::Coming(_) | Self::Server(_) | Self::Check(_) | Self::InHand => None,
        }
    }

    /// Whether this is the connection of a client.
    pub(super) fn is_clients(&self) -> bool {
        matches!(self, Self::Coming(_) | Self::Client(_) | Self::Told(_))
    }

    /// Whether it waits for a server with room.
    pub(super) fn is_queued(&self) -> bool {
        matches!(self, Self::Coming(coming) if coming.stage == Stage::Queued)
    }

    /// Takes in hand a client that is not connected on yet and whose stage is one of these.
    pub(super) fn take_coming(&mut self, is_wanted: impl FnOnce(Stage) -> bool) -> Option<Box<Coming>> {
        match std::mem::replace(self, Self::InHand) {
            Self::Coming(coming) if is_wanted(coming.stage) => Some(coming),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Appends what a successor is told.
    pub(super) fn save(&self, listeners: &Roll, servers: &Roll, record: &mut Vec<u8>) {
        let (listeners, servers) = (listeners.names(), servers.names());
        let saved = match self {
            Self::Coming(coming) => Saved::Coming {
                listener: listeners.of(coming.listener),
                accepted_ms: coming.accepted_ms,
                told: coming.told.clone(),
                stage: coming.stage.into(),
                upstream: coming.upstream.as_deref(),
                tried: coming.tried.iter().map(|server| servers.of(*server)).collect(),
                has_timed_out: coming.has_timed_out,
                has_spoken: coming.has_spoken,
            },
            Self::Client(_) | Self::Told(_) => {
                let (client, told) = self.client().expect("it is one");
                Saved::Client {
                    accepted_ms: client.accepted_ms,
                    to: servers.of(client.to),
                    connect_ms: client.connect_ms,
                    listener: listeners.of(client.listener),
                    retries: client.retries,
                    told: told.cloned(),
                    leaving: client.leaving,
                    is_half_closed: client.is_half_closed,
                    takeovers: client.takeovers,
                }
            }
            Self::Server(Served { client, to }) => Saved::Server { client: (*client).into(), to: servers.of(*to) },
            // It is ephemeral, and no takeover comes within a call: so nobody asks.
            Self::Check(_) | Self::InHand => return,
        };
        minicbor::encode(saved, record).expect("a vector takes everything");
    }

    /// The session that was saved.
    ///
    /// # Errors
    /// If `record` is none.
    pub(super) fn restore(listeners: &Roll, servers: &Roll, record: &[u8]) -> Result<Self, RestoreError> {
        let saved = minicbor::decode(record).map_err(|error| RestoreError::new(format!("a session: {error}")))?;
        Ok(match saved {
            Saved::Coming { listener, accepted_ms, told, stage, upstream, tried, has_timed_out, has_spoken } => {
                let tried = tried.into_iter().map(|server| servers.number(server)).collect();
                let (listener, upstream) = (listeners.number(listener), upstream.map(Box::from));
                Self::Coming(Box::new(Coming {
                    listener,
                    accepted_ms,
                    told,
                    stage: stage.into(),
                    upstream,
                    tried,
                    has_timed_out,
                    has_spoken,
                }))
            }
            Saved::Client {
                accepted_ms,
                to,
                connect_ms,
                listener,
                retries,
                told,
                leaving,
                is_half_closed,
                takeovers,
            } => {
                let (to, listener) = (servers.number(to), listeners.number(listener));
                let takeovers = takeovers.saturating_add(1);
                let client =
                    Client { accepted_ms, to, connect_ms, listener, retries, leaving, is_half_closed, takeovers };
                client.told(told)
            }
            Saved::Server { client, to } => Self::Server(Served { client: client.into(), to: servers.number(to) }),
        })
    }
}

impl Origin {
    /// What a server is told of it.
    pub(super) fn says(&self) -> Says {
        match (self.source, self.destination) {
            (Some(source), Some(destination)) => Says::Addresses(Addresses { source, destination }),
            _ => Says::Unknown,
        }
    }

    /// Where the client comes from, as a line has it.
    pub(super) fn whence(&self) -> impl fmt::Display + use<> {
        self.source.map_or_else(|| "unix".to_owned(), |source| source.to_string())
    }
}

impl Client {
    /// Its session.
    pub(super) fn told(self, told: Option<Told>) -> Session {
        match told {
            Some(told) => Session::Told(Box::new((self, told))),
            None => Session::Client(self),
        }
    }
}

impl From<Stage> for SavedStage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Header => Self::Header,
            Stage::Hello => Self::Hello,
            Stage::Queued => Self::Queued,
            Stage::Connecting { server } => Self::Connecting { server: server.into() },
            Stage::Resting => Self::Resting,
            Stage::Refused(why) => Self::Refused { why: why.saved() },
        }
    }
}

impl From<SavedStage> for Stage {
    fn from(stage: SavedStage) -> Self {
        match stage {
            SavedStage::Header => Self::Header,
            SavedStage::Hello => Self::Hello,
            SavedStage::Queued => Self::Queued,
            SavedStage::Connecting { server } => Self::Connecting { server: server.into() },
            SavedStage::Resting => Self::Resting,
            SavedStage::Refused { why } => Self::Refused(Refusal::of_saved(why)),
        }
    }
}

const _: () = assert!(size_of::<Session>() <= 24, "there are two for each client");

#[cfg(test)]
mod tests {
    use super::*;

    fn again(session: &Session) -> String {
        let [listeners, servers] = [Roll::of(["l"]), Roll::of(["u/a", "u/b"])];
        let mut record = Vec::new();
        session.save(&listeners, &servers, &mut record);
        // A successor that knows them under other numbers, or did not know them.
        let [new_listeners, new_servers] = [Roll::of(["m"]), Roll::of(["u/b"])];
        let restored = Session::restore(&new_listeners, &new_servers, &record).unwrap();
        format!("{restored:?}")
    }

    #[test]
    fn sessions_are_restored_by_the_names_of_their_listeners_and_servers() {
        let [listeners, servers] = [Roll::of(["l"]), Roll::of(["u/a", "u/b"])];
        let (listener, to) = (listeners.number("l"), servers.number("u/a"));
        let client = Client {
            accepted_ms: 1,
            to,
            connect_ms: 3,
            listener,
            retries: 1,
            leaving: Leaving::Down,
            is_half_closed: true,
            takeovers: 1,
        };
        let origin = Origin { source: Some(([10, 0, 0, 1], 1).into()), destination: None };
        assert!(again(&Session::Client(client)).contains("connect_ms: 3, listener: Rolled(1)"));
        let told =
            Told { origin, passed_on_by: Some(([10, 0, 0, 9], 1).into()), server_name: Some("a.example".into()) };
        let restored = again(&client.told(Some(told.clone())));
        assert!(restored.contains("10.0.0.1:1") && restored.contains("takeovers: 2"), "{restored}");
        // The names that were not known have come behind the one that was.
        assert!(again(&Session::Server(Served { client: 8.into(), to })).contains("to: Rolled(1)"));
        for stage in
            [Stage::Header, Stage::Queued, Stage::Connecting { server: 9.into() }, Stage::Refused(Refusal::Denied)]
        {
            let coming = Coming {
                listener,
                accepted_ms: 1,
                told: told.clone(),
                stage,
                upstream: Some("u".into()),
                tried: vec![servers.number("u/b"), to],
                has_timed_out: true,
                has_spoken: true,
            };
            let restored = again(&Session::Coming(Box::new(coming)));
            assert!(
                restored.contains("tried: [Rolled(0), Rolled(1)]") && restored.contains(&format!("{stage:?}")),
                "{restored}"
            );
        }
    }

    #[test]
    fn what_is_no_session_is_refused() {
        let rolls = || Roll::of(["x"]);
        assert!(Session::restore(&rolls(), &rolls(), b"").is_err());
        assert!(Session::restore(&rolls(), &rolls(), b"\x82\x09\x80").is_err());
    }
}
