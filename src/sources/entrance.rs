//! Where peers come from: the listeners of all lanes, or the queue of the supervisor that this process works for.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use log::{debug, info, warn};
use mio::event::Event;
use mio::{Registry, Token};

use super::listener::{Arrived, Came, Listener};
use super::queue::{Draw, Inherited, Offer};
use super::source::{Name, Source, Tokens};
use crate::peer::PeerId;
use crate::service::Accepted;
use crate::tls::Tls;
use crate::worker::Wish;
use reactord_process::accept::{ACCEPTS_PER_TURN, Accepting, waiting_max};
use reactord_process::path_watch::LookTimer;

/// The number of the lane whose peers a supervisor's queue brings.
pub(crate) const QUEUE_LANE: usize = 0;

/// All doors, and whether and when peers are let in.
#[derive(Debug)]
pub(crate) struct Entrance {
    doors: Vec<Door>,
    /// Whose turn it is: each gets as many in as the others.
    next: usize,
    /// How many may still be let in in this turn, through all doors.
    budget: u32,
    /// A successor has duplicates of the listeners, and may go on with them.
    is_lent: bool,
    /// Who connects to a listener whose clients speak TLS is left to the kernel: handshakes that are under way come to their
    /// end first.
    holds_tls: bool,
    /// Says when to look after paths, where there are any.
    timer: Option<LookTimer>,
    /// The timer may have rung.
    timer_rang: bool,
}

/// The key of the timer: there are far fewer doors.
const TIMER: usize = 1 << 16;

/// How many peers there are, how many more may come to a lane, and how many of those by one of its listeners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) peers: usize,
    pub(crate) free: usize,
    pub(crate) free_here: usize,
}

/// Where peers come from, and when the next one may.
#[derive(Debug)]
struct Door {
    leads_from: LeadsFrom,
    accepting: Accepting,
}

#[derive(Debug)]
enum LeadsFrom {
    /// Clients connect to this process.
    Listener(Listener),
    /// The same, but only those are let in who have connected already: they come first, and are not more than that many.
    Leftover(Listener, usize),
    /// A supervisor accepts for this process.
    Queue(Draw, Option<Tls>),
    /// Nobody is let in any more.
    Nowhere,
}

impl Entrance {
    /// Nobody comes.
    pub(crate) fn nowhere() -> Self {
        Self { doors: Vec::new(), next: 0, budget: 0, is_lent: false, holds_tls: false, timer: None, timer_rang: false }
    }

    /// Those who connect to these listeners are let in.
    pub(crate) fn of_listeners(listeners: impl IntoIterator<Item = Listener>) -> Self {
        let doors = listeners.into_iter().map(|listener| Door::new(LeadsFrom::Listener(listener)));
        Self { doors: doors.collect(), ..Self::nowhere() }
    }

    /// So are those whom a supervisor sends, as peers of the first lane, who speak TLS with this if there is something.
    pub(crate) fn and_of_queue(mut self, draw: Draw, tls: Option<Tls>) -> Self {
        self.doors.push(Door::new(LeadsFrom::Queue(draw, tls)));
        self
    }

    /// So are those who have connected to these listeners by now, at most `waiting_max` to each, and then nobody else.
    pub(crate) fn and_leftovers(mut self, listeners: impl IntoIterator<Item = Listener>, waiting_max: usize) -> Self {
        let leftovers = listeners.into_iter().map(|listener| LeadsFrom::Leftover(listener, waiting_max));
        self.doors.extend(leftovers.map(Door::new));
        self
    }

    /// Peers are this process's from now on: it listens also where its predecessor would have lost somebody by that.
    pub(crate) fn begin(&mut self) {
        for door in &mut self.doors {
            if let LeadsFrom::Listener(listener) = &mut door.leads_from {
                listener.begin();
            }
        }
    }

    /// Says that this process serves from now on.
    pub(crate) fn announce(&mut self) {
        let is_one_of_several = self.listeners().count() > 1;
        for door in &mut self.doors {
            match &mut door.leads_from {
                LeadsFrom::Listener(listener) => {
                    listener.own();
                    listener.announce(is_one_of_several);
                }
                LeadsFrom::Queue(draw, _) => {
                    info!("Starting worker on a supervisor's queue");
                    draw.announce();
                }
                LeadsFrom::Leftover(..) | LeadsFrom::Nowhere => {}
            }
        }
    }

    /// A turn of the loop begins: so many may be let in until the next.
    pub(crate) fn begin_turn(&mut self) {
        self.budget = ACCEPTS_PER_TURN;
    }

    /// Goes over to other sockets where a path does not lead here any more, if it is time to look. Not while a successor has
    /// duplicates of them as they are.
    #[inline]
    pub(crate) fn look_after_paths(&mut self, registry: &Registry) {
        if std::mem::take(&mut self.timer_rang) && self.timer.as_mut().is_some_and(LookTimer::rings) && !self.is_lent {
            for key in 0..self.doors.len() {
                self.look_after_path(key, registry);
            }
        }
    }

    #[cold]
    fn look_after_path(&mut self, key: usize, registry: &Registry) {
        let LeadsFrom::Listener(listener) = &mut self.doors[key].leads_from else { return };
        let Some(mut before) = listener.look_after_path() else { return };
        // Whoever has connected before is let in by a door of its own.
        let free = self.doors.iter().position(|door| matches!(door.leads_from, LeadsFrom::Nowhere));
        let key_before = free.unwrap_or(self.doors.len());
        let token = |key| Tokens::of(Name::Entrance).token(key);
        let registered = before
            .reregister(registry, token(key_before))
            .and_then(|()| self.doors[key].register(registry, token(key)));
        if let Err(error) = registered {
            warn!("Path {} may not lead here: {error}", before.at());
        }
        // Who has connected to the new one already is let in without an event.
        self.doors[key].accepting.go_on_next_turn();
        let door = Door::new(LeadsFrom::Leftover(before, waiting_max()));
        match free {
            Some(key) => self.doors[key] = door,
            None => self.doors.push(door),
        }
    }

    /// The next peer. For so many there is room in the lane with a number, at the listener with a name.
    pub(crate) fn next(&mut self, room: impl Fn(usize, &str) -> Room, now: Instant) -> Option<Came<'_>> {
        for _ in 0..self.doors.len() {
            self.next = (self.next + 1) % self.doors.len();
            let door = &mut self.doors[self.next];
            if self.holds_tls && door.speaks_tls() {
                continue;
            }
            if let Some(accepted) = door.next(&mut self.budget, &room, now) {
                return Some(self.doors[self.next].lead_in(accepted));
            }
            if !self.is_lent {
                self.doors[self.next].close_if_empty();
            }
        }
        None
    }

    /// Whether it leads in from a listener whose clients speak TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.doors.iter().any(Door::speaks_tls)
    }

    /// What all those speak TLS with whom it leads in, as far as they do.
    pub(crate) fn all_tls(&self) -> impl Iterator<Item = &Tls> {
        self.doors.iter().filter_map(Door::tls)
    }

    /// What those speak TLS with who come over a queue, if they do.
    pub(crate) fn queue_tls(&self) -> Option<&Tls> {
        let queue = self.doors.iter().find(|door| matches!(door.leads_from, LeadsFrom::Queue(..)));
        queue.and_then(Door::tls)
    }

    /// From now on, who connects to a listener whose clients speak TLS is left to the kernel, or is not any more.
    pub(crate) fn hold_tls(&mut self, holds_tls: bool) {
        self.holds_tls = holds_tls;
        if !holds_tls {
            self.doors.iter_mut().for_each(|door| door.accepting.go_on_next_turn());
        }
    }

    /// Somebody is gone who was no peer yet, so there is room for another.
    #[cfg(feature = "tls")]
    pub(crate) fn resume(&mut self) {
        self.doors.iter_mut().for_each(|door| door.accepting.resume());
    }

    /// The peer is gone, so there is room for another.
    pub(crate) fn released(&mut self, id: PeerId) {
        for Door { leads_from, accepting } in &mut self.doors {
            if let LeadsFrom::Queue(draw, _) = leads_from {
                draw.released(id);
                if draw.has_offers() {
                    // No event tells of those for whom there was no room.
                    accepting.go_on_next_turn();
                }
            }
            accepting.resume();
        }
    }

    /// What a supervisor wants of this process besides that it serves, since this was last called.
    pub(crate) fn wishes(&mut self) -> Vec<Wish> {
        self.draws().flat_map(Draw::take_wishes).collect()
    }

    /// Tells a supervisor that there are so many peers.
    pub(crate) fn say_holds(&mut self, peers: usize) {
        self.draws().for_each(|draw| draw.say_holds(peers));
    }

    /// Tells a supervisor that so many peers were moved.
    pub(crate) fn say_moved(&mut self, peers: u64) {
        self.draws().for_each(|draw| draw.say_moved(peers));
    }

    /// The queue of a supervisor, for a standby to go on with.
    pub(crate) fn queue(&self) -> Option<BorrowedFd<'_>> {
        self.doors.iter().find_map(|door| match &door.leads_from {
            LeadsFrom::Queue(draw, _) => Some(draw.queue()),
            LeadsFrom::Listener(_) | LeadsFrom::Leftover(..) | LeadsFrom::Nowhere => None,
        })
    }

    /// A standby is armed, or none is any more.
    pub(crate) fn followed_by(&mut self, pid: Option<u32>) {
        for door in &mut self.doors {
            // Whoever speaks TLS is no peer before the end of its handshake, and ends with this process until then.
            if let LeadsFrom::Queue(draw, tls) = &mut door.leads_from {
                draw.followed_by(pid, tls.is_none());
                // No event tells of those who wait for it.
                door.accepting.go_on_next_turn();
            }
        }
    }

    /// Whether a supervisor can hear all that it was told.
    pub(crate) fn has_told_all(&mut self) -> bool {
        self.draws().all(Draw::has_told_all)
    }

    /// Whom a supervisor offers, if it is time to let somebody in and there is `room`: a standby is to know them before they are taken.
    pub(crate) fn offers(&mut self, room: usize, now: Instant) -> Vec<Offer<'_>> {
        // Of whom it knew before this turn, it does not know any more.
        self.withhold_offers();
        let due = self.doors.iter_mut().filter(|door| door.accepting.is_due(now));
        due.flat_map(|door| match &mut door.leads_from {
            LeadsFrom::Queue(draw, _) => draw.offers(room),
            LeadsFrom::Listener(_) | LeadsFrom::Leftover(..) | LeadsFrom::Nowhere => Vec::new(),
        })
        .collect()
    }

    /// A standby could not be told of them, and they are not taken.
    pub(crate) fn withhold_offers(&mut self) {
        self.draws().for_each(Draw::withhold);
    }

    /// This process goes on with the queue of one that has died, which may have taken these.
    pub(crate) fn inherit(&mut self, mut inherited: Vec<Inherited>) {
        self.draws().for_each(|draw| draw.inherit(std::mem::take(&mut inherited)));
    }

    fn draws(&mut self) -> impl Iterator<Item = &mut Draw> {
        self.doors.iter_mut().filter_map(|door| match &mut door.leads_from {
            LeadsFrom::Queue(draw, _) => Some(draw),
            LeadsFrom::Listener(_) | LeadsFrom::Leftover(..) | LeadsFrom::Nowhere => None,
        })
    }

    /// Whether no peer will come any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.doors.iter().all(|door| match &door.leads_from {
            LeadsFrom::Listener(_) | LeadsFrom::Leftover(..) => false,
            LeadsFrom::Queue(draw, _) => draw.has_ended(),
            LeadsFrom::Nowhere => true,
        })
    }

    /// Where clients connect to this process.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.doors.iter().filter_map(|door| match &door.leads_from {
            LeadsFrom::Listener(listener) => Some(listener),
            LeadsFrom::Leftover(..) | LeadsFrom::Queue(..) | LeadsFrom::Nowhere => None,
        })
    }

    /// Those who have connected there are let in, and nobody after them.
    pub(crate) fn leftovers(&self) -> impl Iterator<Item = &Listener> {
        self.doors.iter().filter_map(|door| match &door.leads_from {
            LeadsFrom::Leftover(listener, _) => Some(listener),
            LeadsFrom::Listener(_) | LeadsFrom::Queue(..) | LeadsFrom::Nowhere => None,
        })
    }

    /// A successor has duplicates of all that is listened on, and may go on with it: nothing of it is closed until then, or
    /// until it has given up. A queue is not lent: each worker has its own.
    pub(crate) fn lend(&mut self) {
        self.is_lent = true;
    }

    /// The successor has given up.
    pub(crate) fn take_back(&mut self) {
        (self.is_lent, self.holds_tls) = (false, false);
        for door in &mut self.doors {
            // Whom no event tells of any more: those who have connected to one that goes, and those who were left to the kernel.
            door.accepting.go_on_next_turn();
        }
    }

    /// Lets nobody in any more, whoever else holds duplicates of the listeners.
    pub(crate) fn close(&mut self) {
        self.doors.drain(..).for_each(Door::close);
    }

    /// Leaves it to the successor. What a supervisor has offered here and nobody has taken goes to another worker.
    pub(crate) fn leave(&mut self) {
        for door in &mut self.doors {
            if let LeadsFrom::Listener(listener) = &mut door.leads_from {
                listener.disown();
            }
        }
        self.doors.clear();
    }
}

impl Door {
    fn new(leads_from: LeadsFrom) -> Self {
        Self { leads_from, accepting: Accepting::begin() }
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.leads_from {
            LeadsFrom::Listener(listener) | LeadsFrom::Leftover(listener, _) => listener.register(registry, token),
            LeadsFrom::Queue(draw, _) => draw.register(registry, token),
            LeadsFrom::Nowhere => Ok(()),
        }
    }

    /// The next one who has connected, if the door's time has come and there is room.
    fn next(&mut self, budget: &mut u32, room: impl Fn(usize, &str) -> Room, now: Instant) -> Option<Arrived> {
        if !self.accepting.is_due(now) {
            return None;
        }
        if *budget == 0 {
            self.accepting.go_on_next_turn();
            return None;
        }
        *budget -= 1;
        // Whoever is this process's already is let in in any case.
        if let LeadsFrom::Queue(draw, _) = &mut self.leads_from
            && let Some(inherited) = draw.next_inherited()
        {
            return Some(Arrived::from_elsewhere(inherited));
        }
        let Room { peers, free, free_here } = room(self.lane(), self.name());
        if free_here == 0 {
            self.accepting.pause();
            self.log_pause_here(now);
            return None;
        }
        if free == 0 {
            if let LeadsFrom::Queue(draw, _) = &mut self.leads_from {
                draw.hear();
            }
            self.accepting.pause();
            self.log_pause(peers, now, &"that is the maximum");
            return None;
        }
        let Self { leads_from, accepting } = self;
        let next = match leads_from {
            LeadsFrom::Listener(listener) => accepting.accept_by(|| listener.accept(), now),
            LeadsFrom::Leftover(_, 0) => Ok(None),
            LeadsFrom::Leftover(listener, waiting_max) => {
                *waiting_max -= 1;
                accepting.accept_by(|| listener.accept(), now)
            }
            LeadsFrom::Queue(draw, _) => Ok(draw.next(free).map(Arrived::from_elsewhere)),
            LeadsFrom::Nowhere => Ok(None),
        };
        match next {
            Ok(Some(arrived)) => Some(arrived),
            Ok(None) => {
                self.accepting.wait_for_event();
                self.note_emptiness();
                None
            }
            Err(error) => {
                self.log_pause(peers, now, &error);
                None
            }
        }
    }

    /// The listener that it leads in from, if it is one.
    fn listener(&self) -> Option<&Listener> {
        match &self.leads_from {
            LeadsFrom::Listener(listener) | LeadsFrom::Leftover(listener, _) => Some(listener),
            LeadsFrom::Queue(..) | LeadsFrom::Nowhere => None,
        }
    }

    /// What that listener is called.
    fn name(&self) -> &str {
        self.listener().map_or("", Listener::name)
    }

    /// What those speak TLS with who come in here, if they do.
    fn tls(&self) -> Option<&Tls> {
        match &self.leads_from {
            LeadsFrom::Listener(listener) | LeadsFrom::Leftover(listener, _) => listener.tls(),
            LeadsFrom::Queue(_, tls) => tls.as_ref(),
            LeadsFrom::Nowhere => None,
        }
    }

    fn speaks_tls(&self) -> bool {
        self.tls().is_some()
    }

    /// The number of the lane that it leads to.
    fn lane(&self) -> usize {
        self.listener().map_or(QUEUE_LANE, Listener::lane)
    }

    /// What is known of somebody who has come in here.
    fn lead_in(&self, Arrived { socket, address, at }: Arrived) -> Came<'_> {
        let (listener, lane, tls) = (self.name(), self.lane(), self.tls());
        Came { socket, address, lane, tls, how: Accepted { listener, from: address.ip(), at, preface: None } }
    }

    /// Says that further connections are left to the kernel.
    fn log_pause(&mut self, peers: usize, now: Instant, reason: &dyn std::fmt::Display) {
        if self.accepting.pause_is_news(now) {
            warn!("Accepting pauses with {peers} peers, and goes on when one leaves: {reason}");
        }
    }

    /// The same where the service lets in no more by this door.
    fn log_pause_here(&mut self, now: Instant) {
        if self.accepting.pause_is_news(now) {
            let name = self.name().escape_debug();
            warn!("Accepting at {name} pauses, and goes on when a peer leaves: its service lets in no more there");
        }
    }

    /// Nobody is left who has connected: whoever does so from now on comes too late.
    fn note_emptiness(&mut self) {
        if let LeadsFrom::Leftover(_, waiting_max) = &mut self.leads_from {
            *waiting_max = 0;
        }
    }

    /// A listener that is not to be listened on any more is closed when nobody is left who has connected.
    fn close_if_empty(&mut self) {
        if let LeadsFrom::Leftover(listener, 0) = &mut self.leads_from {
            if listener.is_replaced() {
                debug!("All who had connected at {} before it was made anew have been let in", listener.at());
            } else {
                info!("Listening on {} no longer", listener.at());
            }
            // Nobody else removes its path.
            listener.own();
            self.shut();
        }
    }

    fn shut(&mut self) {
        if let LeadsFrom::Listener(listener) | LeadsFrom::Leftover(listener, _) =
            std::mem::replace(&mut self.leads_from, LeadsFrom::Nowhere)
        {
            listener.close();
        }
    }

    fn close(mut self) {
        self.shut();
    }
}

impl Source for Entrance {
    fn register(&mut self, registry: &Registry, tokens: Tokens) -> io::Result<()> {
        for (key, door) in self.doors.iter_mut().enumerate() {
            door.register(registry, tokens.token(key))?;
        }
        if self.listeners().any(Listener::has_own_path) {
            self.timer_rang = true;
            self.timer.insert(LookTimer::new()?).register(registry, tokens.token(TIMER))?;
        }
        Ok(())
    }

    fn hear(&mut self, key: usize, _: &Event) {
        self.timer_rang |= key == TIMER;
        if let Some(door) = self.doors.get_mut(key) {
            door.accepting.go_on_next_turn();
        }
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        let open = self.doors.iter().filter(|door| !(self.holds_tls && door.speaks_tls()));
        open.filter_map(|door| door.accepting.due(now)).min()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::listen::Listen;

    fn names(entrance: &mut Entrance) -> Vec<(String, usize)> {
        names_within(entrance, usize::MAX)
    }

    /// The same, of whom so many are let in at the listener `quiet`.
    fn names_within(entrance: &mut Entrance, quiet_max: usize) -> Vec<(String, usize)> {
        let count = std::cell::Cell::new(0);
        let free = |name: &str| if name == "quiet" { quiet_max - count.get() } else { usize::MAX };
        let room = |_, name: &str| Room { peers: 0, free: usize::MAX, free_here: free(name) };
        entrance.begin_turn();
        let mut names = Vec::new();
        while let Some(came) = entrance.next(room, Instant::now()) {
            count.set(count.get() + usize::from(came.how.listener == "quiet"));
            names.push((came.how.listener.to_owned(), came.lane));
        }
        names
    }

    /// Listeners at two paths, of two lanes.
    fn two(directory: &std::path::Path) -> (Entrance, [std::path::PathBuf; 2]) {
        let paths = ["crowded", "quiet"].map(|name| directory.join(name));
        let listeners = [0, 1]
            .map(|lane| Listener::bind(lane, &Listen::on(["crowded", "quiet"][lane], paths[lane].clone())).unwrap());
        (Entrance::of_listeners(listeners), paths)
    }

    /// One that listens on this path, and what wakes it.
    fn registered_at(path: &std::path::Path) -> (Entrance, mio::Poll) {
        let listener = Listener::bind(0, &Listen::on("local", path.to_owned())).unwrap();
        let poll = mio::Poll::new().unwrap();
        let mut entrance = Entrance::of_listeners([listener]);
        entrance.register(poll.registry(), Tokens::of(Name::Entrance)).unwrap();
        (entrance, poll)
    }

    #[test]
    fn those_who_have_connected_to_a_listener_that_goes_are_let_in_and_nobody_after_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let left = Listener::bind(1, &Listen::on("left", path.clone())).unwrap();
        let clients = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
        let mut entrance = Entrance::nowhere().and_leftovers([left], 4096);
        assert_eq!(entrance.listeners().count(), 0, "nobody is told of it");
        assert!(!entrance.has_ended());
        assert_eq!(names(&mut entrance), [("left".to_owned(), 1), ("left".to_owned(), 1), ("left".to_owned(), 1)]);
        assert!(entrance.has_ended());
        assert!(UnixStream::connect(&path).is_err() && !path.exists());
        drop(clients);
    }

    #[test]
    fn a_listener_that_goes_is_closed_however_many_go_on_connecting() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let left = Listener::bind(0, &Listen::on("left", path.clone())).unwrap();
        let clients = [(); 3].map(|()| UnixStream::connect(&path).unwrap());
        let mut entrance = Entrance::nowhere().and_leftovers([left], 2);
        assert_eq!(names(&mut entrance).len(), 2, "the third one is none of those who had connected");
        assert!(entrance.has_ended() && UnixStream::connect(&path).is_err());
        drop(clients);
    }

    #[test]
    fn a_listener_that_goes_is_not_closed_while_a_successor_may_go_on_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let left = Listener::bind(0, &Listen::on("left", path.clone())).unwrap();
        let mut entrance = Entrance::nowhere().and_leftovers([left], 4096);
        entrance.lend();
        assert!(names(&mut entrance).is_empty() && entrance.leftovers().count() == 1);
        let _client = UnixStream::connect(&path).unwrap();
        entrance.take_back();
        assert!(entrance.due(Instant::now()).is_some(), "no event tells of it");
        assert!(names(&mut entrance).is_empty() && entrance.has_ended());
        assert!(UnixStream::connect(&path).is_err());
    }

    #[test]
    fn a_path_that_is_removed_is_made_anew_and_whoever_had_connected_is_let_in_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (mut entrance, poll) = registered_at(&path);
        entrance.announce();
        entrance.look_after_path(0, poll.registry());
        assert_eq!(entrance.leftovers().count(), 0, "it leads here");

        for _ in 0..3 {
            let _before = UnixStream::connect(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            entrance.look_after_path(0, poll.registry());
            let _after = UnixStream::connect(&path).unwrap();
            assert_eq!(names(&mut entrance), [("local".to_owned(), 0), ("local".to_owned(), 0)]);
            // It is closed when it is found to be empty.
            assert_eq!(names(&mut entrance), []);
            assert_eq!((entrance.doors.len(), entrance.leftovers().count()), (2, 0));
        }
        drop(entrance);
        assert!(!path.exists(), "it is removed, as any other");
    }

    #[test]
    fn a_path_is_not_made_anew_while_a_successor_may_go_on_with_it_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (mut entrance, poll) = registered_at(&path);
        entrance.look_after_paths(poll.registry());
        std::fs::remove_file(&path).unwrap();
        for (is_lent, is_made_anew) in [(true, false), (false, true)] {
            entrance.is_lent = is_lent;
            entrance.timer_rang = true;
            entrance.look_after_paths(poll.registry());
            assert_eq!(path.exists(), is_made_anew);
        }
    }

    #[test]
    fn each_listener_gets_its_turn_however_many_have_connected_to_another() {
        let directory = tempfile::tempdir().unwrap();
        let (mut entrance, paths) = two(directory.path());
        let _crowd = [(); 20].map(|()| UnixStream::connect(&paths[0]).unwrap());
        let _one = UnixStream::connect(&paths[1]).unwrap();
        let came = names(&mut entrance);
        assert_eq!(came.len(), 21);
        assert!(came[..2].contains(&("quiet".to_owned(), 1)), "{came:?}");
    }

    #[test]
    fn who_connects_where_the_service_lets_in_no_more_waits_until_somebody_leaves_and_others_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let (mut entrance, paths) = two(directory.path());
        let _waiting = [(); 3].map(|()| UnixStream::connect(&paths[1]).unwrap());
        let _others = [(); 2].map(|()| UnixStream::connect(&paths[0]).unwrap());
        let came = names_within(&mut entrance, 1);
        assert_eq!(came.iter().filter(|(name, _)| name == "quiet").count(), 1);
        assert_eq!(came.len(), 3);
        assert!(names_within(&mut entrance, 1).is_empty(), "no event tells of it, and nobody has left");
        entrance.released(PeerId::from(1));
        assert_eq!(names_within(&mut entrance, 1).len(), 1);
    }
}
