//! The proxy as a value: what it is to do, how its servers stand, how many connections there are where.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reactord::{Keyed, PeerId, Target};

use super::doings::Doings;
use super::roll::{Roll, Rolled};
use crate::balance::Turns;
use crate::config::{At, Config, Listener, Server, Upstream};
use crate::journal::Journal;
use crate::lines::Lines;
use crate::names::{Resolver, Told};
use crate::plan::{door, key};
use crate::standing::Standing;

/// Under which a successor finds the text of the file.
pub(super) const TEXT: &str = "file";

/// A proxy: a service of `reactord`.
pub struct Proxy {
    pub(super) config: Config,
    /// The text that it was read from, if from any.
    pub(super) text: Option<String>,
    /// That of whoever serves, for a successor to say what is different.
    pub(super) texts: Keyed<String, String>,
    /// The listeners of the file, by the names under which the loop knows each place where they listen.
    pub(super) doors: HashMap<String, Rolled>,
    pub(super) listeners: Roll,
    pub(super) servers: Roll,
    /// What the proxy knows now of each listener, by its number.
    pub(super) entered: Vec<Entered>,
    /// The same of each server.
    pub(super) live: Vec<Live>,
    /// The upstreams of the file, in its order.
    pub(super) pools: Vec<Pool>,
    /// What a successor is told of each server, by its name.
    pub(super) standings: Keyed<String, Standing>,
    /// The same of each listener.
    pub(super) doings: Keyed<String, Doings>,
    /// The same of each upstream: how many clients have had to wait for one of its servers.
    pub(super) queued: Keyed<String, u64>,
    pub(super) lines: Lines,
    pub(super) journal: Journal,
    /// The server stops.
    pub(super) is_stopping: bool,
    pub(super) names: Names,
    clock: Clock,
    /// How many clients it has at most, through all listeners.
    pub(super) clients_max: usize,
}

/// The thread that resolves the names of servers, and what it has told since somebody looked.
#[derive(Default)]
pub(super) struct Names {
    pub(super) resolver: Option<Resolver>,
    pub(super) told: Arc<Mutex<Vec<Told>>>,
}

/// What is known now of a listener.
#[derive(Debug, Default)]
pub(super) struct Entered {
    /// How many clients it has.
    pub(super) connections: u32,
    /// When clients of an address came, where that is limited.
    pub(super) rates: super::rates::Rates,
}

/// What is known now of a server.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// How many connections there are to it for clients, or are being opened.
    pub(super) connections: u32,
    /// Where it is: nowhere, as long as its name has no address.
    pub(super) at: Vec<Target>,
    /// Which of those is next, for a client.
    pub(super) next: usize,
    /// For a check: the one that has answered the last one, or the next.
    pub(super) next_check: usize,
    /// When it is checked next.
    pub(super) check_at: Option<Instant>,
    /// What its standing says of whether it gets clients.
    pub(super) gate: Gate,
}

impl Live {
    /// Whether a client that was led to these servers in vain was led to each address of this one: a name may have one of IPv6 where
    /// nobody listens.
    pub(super) fn is_exhausted(&self, server: Rolled, tried: &[Rolled]) -> bool {
        let attempts = tried.iter().filter(|tried| **tried == server).count();
        attempts > 0 && attempts >= self.at.len()
    }
}

/// What of a standing decides whether a server gets clients, where a look has to be quick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gate {
    pub(super) is_shut: bool,
    pub(super) ejected_until_ms: u64,
}

/// What is known now of an upstream.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// The number of its first server; the others follow.
    pub(super) first: usize,
    pub(super) turns: Turns,
    /// Who waits for a server with room, and maybe some who do not any more.
    pub(super) queue: VecDeque<PeerId>,
    /// How many of those wait.
    pub(super) waiting: u32,
}

/// The time of the day, by the clock of the loop: no call for each connection, and no leap while this process lives.
#[derive(Clone, Copy, Debug)]
struct Clock {
    at: Instant,
    unix: Duration,
}

impl Clock {
    fn new() -> Self {
        Self { at: Instant::now(), unix: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    fn ms(&self, now: Instant) -> u64 {
        let since = self.unix + now.saturating_duration_since(self.at);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Proxy {
    /// A proxy that does what `config` says, which was read from this text, if from any, and lets in as many as that says.
    #[must_use]
    pub fn new(config: Config, text: Option<&str>, journal: Journal) -> Self {
        let listeners = Roll::of(config.listeners.iter().map(|listener| &*listener.name));
        let keys =
            config.upstreams.iter().flat_map(|upstream| upstream.servers.iter().map(|server| key(upstream, server)));
        let servers = Roll::of(keys);
        let doors = config.listeners.iter().enumerate().flat_map(|(number, listener)| {
            listener.bind.iter().map(move |at| (door(listener, at), Rolled::at(number)))
        });
        let doors = doors.collect();
        let mut first = 0;
        let pools = config.upstreams.iter().map(|upstream| {
            let pool = Pool { first, ..Pool::default() };
            first += upstream.servers.len();
            pool
        });
        let pools = pools.collect();
        let (entered, live) = (Vec::new(), Vec::new());
        let (standings, doings) = (Keyed::default(), Keyed::default());
        let (lines, clock) = (Lines::default(), Clock::new());
        let mut proxy = Self {
            config,
            text: text.map(str::to_owned),
            texts: text.map(|text| (TEXT.to_owned(), text.to_owned())).into_iter().collect(),
            doors,
            listeners,
            servers,
            entered,
            live,
            pools,
            standings,
            doings,
            queued: Keyed::default(),
            lines,
            journal,
            is_stopping: false,
            names: Names::default(),
            clock,
            clients_max: usize::MAX,
        };
        proxy.make_room();
        proxy.set_addresses();
        proxy
    }

    /// There is something known of each name that has a number by now.
    pub(super) fn make_room(&mut self) {
        self.entered.resize_with(self.listeners.len(), Entered::default);
        self.live.resize_with(self.servers.len(), Live::default);
    }

    fn set_addresses(&mut self) {
        let servers = self.config.upstreams.iter().flat_map(|upstream| &upstream.servers);
        for (live, server) in self.live.iter_mut().zip(servers) {
            if let At::Known(at) = &server.at {
                live.at = vec![at.clone()];
            }
        }
    }

    /// The time of the day: ms since 1970.
    pub(super) fn ms(&self, now: Instant) -> u64 {
        self.clock.ms(now)
    }

    /// The listener with this number, if the file has it.
    pub(super) fn listener(&self, number: Rolled) -> Option<&Listener> {
        self.config.listeners.get(number.index())
    }

    /// The number of an upstream of the file.
    pub(super) fn pool(&self, name: &str) -> Option<usize> {
        self.config.upstreams.iter().position(|upstream| upstream.name == name)
    }

    /// A server of the file by its number: the number of its upstream, that, and the server.
    pub(super) fn server(&self, number: Rolled) -> Option<(usize, &Upstream, &Server)> {
        let pool = self.pools.partition_point(|pool| pool.first <= number.index()).checked_sub(1)?;
        let upstream = &self.config.upstreams[pool];
        let server = upstream.servers.get(number.index() - self.pools[pool].first)?;
        Some((pool, upstream, server))
    }

    /// How many servers the file has.
    pub(super) fn servers_of_file(&self) -> usize {
        self.config.upstreams.iter().map(|upstream| upstream.servers.len()).sum()
    }

    /// Changes how a server stands.
    pub(super) fn change<R>(&mut self, number: Rolled, act: impl FnOnce(&mut Standing) -> R) -> R {
        let names = self.servers.names();
        let name = names.of(number);
        let standing = match self.standings.contains_key(name) {
            true => self.standings.get_mut(name).expect("it is there"),
            false => self.standings.get_or_insert_with(name.to_owned(), Standing::default),
        };
        let result = act(standing);
        self.live[number.index()].gate = Gate::of(standing);
        result
    }

    /// One more client has to wait for a server of this upstream.
    pub(super) fn count_queued(&mut self, pool: usize) {
        let name = &self.config.upstreams[pool].name;
        match self.queued.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.queued.insert(name.clone(), 1)),
        }
    }

    /// No more clients than these are let in: each may come to need a connection to a server, too.
    #[must_use]
    pub fn with_at_most(mut self, clients_max: usize) -> Self {
        self.clients_max = clients_max;
        self
    }

    /// How a server stands.
    pub(super) fn standing(&self, number: Rolled) -> Standing {
        self.standings.get(self.servers.names().of(number)).cloned().unwrap_or_default()
    }

    /// Adds to what a listener has done.
    pub(super) fn count(&mut self, number: Rolled, add: impl FnOnce(&mut Doings)) {
        let names = self.listeners.names();
        let name = names.of(number);
        match self.doings.get_mut(name) {
            Some(doings) => add(doings),
            None => add(self.doings.get_or_insert_with(name.to_owned(), Doings::default)),
        }
    }
}

impl Gate {
    pub(super) fn of(standing: &Standing) -> Self {
        let is_shut = standing.is_drained || standing.is_down;
        Self { is_shut, ejected_until_ms: standing.ejected_until_ms }
    }

    pub(super) fn is_open(self, now_ms: u64) -> bool {
        !self.is_shut && now_ms >= self.ejected_until_ms
    }
}
