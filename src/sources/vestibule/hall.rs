//! All who wait: whose turn it is, and how long each may take.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use log::debug;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustc_hash::FxHashMap;
use rustix::net::sockopt::socket_cookie;
use slab::Slab;

use super::headcount::Headcount;
use super::saved::Saved;
use super::waiting::{Reached, Waiting, Welcome, Whom};
use crate::account::HandshakesAccount;
use crate::clock::monotonic_ns;
use crate::originals::Originals;
use crate::peer::Address;
use crate::peer::record::{Change, Record};
use crate::sources::doorways::{Doorway, Doorways};
use crate::sources::listener::Came;
use crate::sources::source::{Name, Source, Tokens};
use crate::status::HandshakesStatus;
use crate::table::Touch;

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may take to hear why its handshake has failed.
const FAREWELL: Duration = Duration::from_secs(2);

/// So many wait at most: rustls holds some 10 kB for each. Whoever comes then takes the place of the one who has waited for
/// longest without a whole first word, so that silence alone keeps nobody out.
const WAITING_MAX: usize = 2048;

/// So few in a queue for whom it is not meant are left there.
const STALE_MIN: usize = 32;

/// How much of a turn of the loop handshakes get, if there is more than one to be done: a signature takes tens of
/// microseconds, one with RSA a millisecond.
const SHARE_OF_TURN: Duration = Duration::from_millis(1);

/// What one read takes at most: more than the first words of any client.
const READ_BYTES: usize = 16 * 1024;

/// Those whose handshakes are under way.
#[derive(Debug)]
pub(crate) struct Vestibule {
    waiting: Slab<Guest>,
    headcount: Headcount,
    /// Whose turn it is, each once.
    woken: VecDeque<usize>,
    /// Who has not been answered, and whose handshake is under way, whose time is over first in front; some have left, or come
    /// further, but not many.
    silent: VecDeque<Place>,
    deadlines: VecDeque<Place>,
    /// Who is told why its handshake has failed, in the same order; some have left, but not many.
    farewells: VecDeque<Place>,
    /// How many have come.
    came: u64,
    buffer: Box<[u8]>,
    account: HandshakesAccount,
    /// What has happened since somebody has last asked, while somebody watches.
    touches: Option<Vec<Touch>>,
    /// Whoever watches goes on with handshakes that have been answered.
    answered_move: bool,
    /// Those of another process that may become this one's, by cookie.
    adopted: FxHashMap<u64, Adopted>,
    /// By how much that process's clock is ahead of this one's.
    ahead_ns: i64,
}

/// Somebody who waits.
#[derive(Debug)]
struct Guest {
    who: Waiting,
    /// Which of all who have come it is.
    number: u64,
    /// How long its handshake may take, and then, if that fails, to hear why.
    until: Instant,
    /// Whoever watches has been told of it.
    is_told_of: bool,
}

/// Where somebody of another process waits, and until when by that one's clock.
#[derive(Debug)]
struct Adopted {
    place: Place,
    until_ns: u64,
}

/// Where somebody waits, or has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    key: usize,
    number: u64,
}

impl Place {
    /// Who waits there, unless it has left.
    fn guest(self, waiting: &Slab<Guest>) -> Option<&Guest> {
        waiting.get(self.key).filter(|guest| guest.number == self.number)
    }

    /// Whether somebody waits there of whom this is true.
    fn holds(self, waiting: &Slab<Guest>, is_true: impl Fn(&Waiting) -> bool) -> bool {
        self.guest(waiting).is_some_and(|guest| is_true(&guest.who))
    }
}

/// What came of somebody's turn.
#[derive(Debug)]
pub(crate) enum Met {
    Welcome(Box<Welcome>),
    /// It will not be served, for this reason.
    Failed(Address, String),
    /// There is room for another.
    Gone,
}

/// How much of this turn of the loop is left.
pub(crate) struct Share {
    ends_at: Instant,
    has_begun: bool,
}

impl Share {
    /// A turn begins.
    pub(crate) fn begin() -> Self {
        Self { ends_at: Instant::now() + SHARE_OF_TURN, has_begun: false }
    }

    /// Whether there is time for one more. For the first there is.
    fn is_left(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true) || Instant::now() < self.ends_at
    }
}

impl Vestibule {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        Self {
            waiting: Slab::new(),
            headcount: Headcount::default(),
            woken: VecDeque::new(),
            silent: VecDeque::new(),
            deadlines: VecDeque::new(),
            farewells: VecDeque::new(),
            came: 0,
            buffer: Box::default(),
            account: HandshakesAccount::default(),
            touches: None,
            answered_move: false,
            adopted: FxHashMap::default(),
            ahead_ns: 0,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many of them will be peers of the lane with this number.
    pub(crate) fn waiting_for(&self, lane: usize) -> usize {
        self.headcount.for_lane(lane)
    }

    /// How many of those have come in at the listener with this name.
    pub(crate) fn waiting_at(&self, lane: usize, listener: &str) -> usize {
        self.headcount.at(lane, listener)
    }

    /// What there is to be told of handshakes, if there were any.
    pub(crate) fn status(&self) -> Option<HandshakesStatus> {
        let HandshakesAccount { done, failed, crowded_out } = self.account;
        let under_way = self.waiting.len() as u64;
        (self.came > 0 || self.account().is_some()).then_some(HandshakesStatus { under_way, done, failed, crowded_out })
    }

    /// What a successor goes on counting from.
    pub(crate) fn account(&self) -> Option<HandshakesAccount> {
        (self.account != HandshakesAccount::default()).then_some(self.account)
    }

    /// Counts on from where a predecessor was.
    pub(crate) fn count_on_from(&mut self, before: HandshakesAccount) {
        self.account = before;
    }

    // ── Coming, and going on ───────────────────────────────────────────────────────────────────────────────────────

    /// Somebody has come in. If there are too many by that, returns who has to go, and why.
    ///
    /// # Errors
    /// If it cannot wait here.
    pub(crate) fn receive(
        &mut self,
        came: Came<'_>,
        registry: &Registry,
        now: Instant,
    ) -> Result<Option<(Address, String)>, String> {
        let Came { socket, address, lane, tls, how } = came;
        let cookie = socket_cookie(&socket).map_err(|error| error.to_string())?;
        let whom = Whom { socket, cookie, address, lane, listener: how.listener.to_owned(), at: how.at };
        let tls = tls.expect("whoever does not speak TLS does not wait");
        let waiting = Waiting::new(whom, tls).map_err(|failure| failure.to_string())?;
        let displaced = if self.waiting.len() < WAITING_MAX { None } else { self.make_room(registry) };
        let place = self.insert(waiting, registry, now + PATIENCE)?;
        self.queue(place);
        Ok(displaced)
    }

    fn insert(&mut self, mut who: Waiting, registry: &Registry, until: Instant) -> Result<Place, String> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; READ_BYTES].into_boxed_slice();
        }
        let entry = self.waiting.vacant_entry();
        let key = entry.key();
        let token = Tokens::of(Name::Vestibule).token(key);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut who.socket, token, interest).map_err(|error| error.to_string())?;
        self.headcount.add(who.lane, &who.listener);
        self.came += 1;
        let place = Place { key, number: self.came };
        entry.insert(Guest { who, number: place.number, until, is_told_of: false });
        self.tell_of(key, true);
        Ok(place)
    }

    /// Nobody who waits may take longer than this one.
    fn queue(&mut self, place: Place) {
        self.silent.push_back(place);
        self.deadlines.push_back(place);
    }

    fn guest(&self, place: Place) -> Option<&Guest> {
        place.guest(&self.waiting)
    }

    /// When the time of the first one in this queue who has not left is over.
    fn first(&self, queue: &VecDeque<Place>) -> Option<Instant> {
        queue.iter().find_map(|place| self.guest(*place)).map(|guest| guest.until)
    }

    /// Has somebody leave: the first of those who have not been answered, or else the first of all.
    fn make_room(&mut self, registry: &Registry) -> Option<(Address, String)> {
        let place = self.first_silent().or_else(|| {
            let mut all = self.deadlines.iter().chain(&self.farewells).copied();
            all.find(|place| self.guest(*place).is_some())
        })?;
        self.account.crowded_out += 1;
        let address = self.end(place.key, registry);
        Some((address, format!("{WAITING_MAX} TLS handshakes are under way, and no other has waited for so long")))
    }

    fn first_silent(&mut self) -> Option<Place> {
        while let Some(place) = self.silent.pop_front() {
            if self.guest(place).is_some_and(|guest| !guest.who.is_answered()) {
                return Some(place);
            }
        }
        None
    }

    /// The next one of whom something has become.
    pub(crate) fn tend(&mut self, share: &mut Share, registry: &Registry, now: Instant) -> Option<Met> {
        while !self.woken.is_empty() && share.is_left() {
            let key = self.woken.pop_front().expect("somebody is");
            if let Some(met) = self.tend_one(key, registry, now) {
                return Some(met);
            }
        }
        self.next_overdue(registry, now)
    }

    fn tend_one(&mut self, key: usize, registry: &Registry, now: Instant) -> Option<Met> {
        let Guest { who, number, .. } = self.waiting.get_mut(key)?;
        who.is_woken = false;
        let (place, heard) = (Place { key, number: *number }, who.come_to());
        match who.go_on(&mut self.buffer) {
            Ok(Reached::Here) => {
                let has_heard = who.come_to() != heard;
                self.tell_of(key, has_heard);
                None
            }
            Ok(Reached::MayGoOn) => {
                self.wake(key);
                None
            }
            Ok(Reached::End) => {
                self.end(key, registry);
                Some(Met::Gone)
            }
            Ok(Reached::Door) => Some(self.welcome(key, registry)),
            Err(why) => Some(self.part_with(place, why, registry, now)),
        }
    }

    fn welcome(&mut self, key: usize, registry: &Registry) -> Met {
        let who = self.take_out(key, registry);
        let address = who.address;
        match who.welcomed() {
            Ok(welcome) => {
                self.account.done += 1;
                Met::Welcome(Box::new(welcome))
            }
            Err(why) => {
                self.account.failed += 1;
                Met::Failed(address, why)
            }
        }
    }

    /// A handshake has failed. Who can be told why stays for a moment.
    fn part_with(&mut self, place: Place, why: String, registry: &Registry, now: Instant) -> Met {
        self.account.failed += 1;
        let who = &self.waiting[place.key].who;
        let address = who.address;
        if who.is_being_told() {
            self.waiting[place.key].until = now + FAREWELL;
            self.farewells.push_back(place);
            self.tell_of(place.key, false);
            self.wake(place.key);
        } else {
            self.end(place.key, registry);
        }
        Met::Failed(address, why)
    }

    fn next_overdue(&mut self, registry: &Registry, now: Instant) -> Option<Met> {
        self.tidy();
        if let Some(place) = self.farewells.pop_front_if(|place| self.waiting[place.key].until <= now) {
            self.end(place.key, registry);
            return Some(Met::Gone);
        }
        let place = self.deadlines.pop_front_if(|place| self.waiting[place.key].until <= now)?;
        self.account.failed += 1;
        let why = format!("its TLS handshake is not over after {} s", PATIENCE.as_secs());
        Some(Met::Failed(self.end(place.key, registry), why))
    }

    /// In front of each queue is somebody for whom it is meant, and not many are in it for whom it is not.
    fn tidy(&mut self) {
        let Self { waiting, silent, deadlines, farewells, .. } = self;
        tidy(silent, waiting, |who| !who.is_answered());
        tidy(deadlines, waiting, Waiting::is_shaking);
        tidy(farewells, waiting, |_| true);
    }

    fn wake(&mut self, key: usize) {
        if let Some(Guest { who, .. }) = self.waiting.get_mut(key)
            && !std::mem::replace(&mut who.is_woken, true)
        {
            self.woken.push_back(key);
        }
    }

    /// Somebody's connection ends here, and says so to its client. Who that was.
    fn end(&mut self, key: usize, registry: &Registry) -> Address {
        let who = self.take_out(key, registry);
        who.hang_up();
        who.address
    }

    /// So do all of them: nobody waits any more.
    pub(crate) fn end_all(self) {
        self.waiting.iter().for_each(|(_, guest)| guest.who.hang_up());
    }

    fn take_out(&mut self, key: usize, registry: &Registry) -> Waiting {
        let Guest { mut who, is_told_of, .. } = self.waiting.remove(key);
        self.headcount.remove(who.lane, &who.listener);
        self.adopted.remove(&who.cookie);
        if is_told_of {
            self.touch(Touch::Gone { key, id: who.cookie.into() });
        }
        if self.waiting.is_empty() {
            self.woken.clear();
            self.silent.clear();
            self.deadlines.clear();
            self.farewells.clear();
        }
        if let Err(error) = registry.deregister(&mut who.socket) {
            debug!("Peer {} stays in the epoll set: {error}", who.address);
        }
        who
    }

    // ── Being copied ───────────────────────────────────────────────────────────────────────────────────────────────

    /// All keys are below this.
    pub(crate) fn keys_end(&self) -> usize {
        self.waiting.capacity()
    }

    /// From now on it is kept what happens to whom.
    pub(crate) fn watch(&mut self) {
        self.touches = Some(Vec::new());
        self.answered_move = false;
        // Whoever watches walks over all of them first.
        self.waiting.iter_mut().for_each(|(_, guest)| guest.is_told_of = guest.who.moves(false));
    }

    /// Nobody wants to know any more.
    pub(crate) fn unwatch(&mut self) {
        self.touches = None;
    }

    /// What has happened since this was last called, in order.
    pub(crate) fn touches(&mut self) -> Vec<Touch> {
        self.touches.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whoever watches goes on with those as well who have been answered.
    pub(crate) fn send_along_answered(&mut self, answered_move: bool) {
        if answered_move && !std::mem::replace(&mut self.answered_move, true) {
            let keys: Vec<usize> = self.waiting.iter().map(|(key, _)| key).collect();
            keys.into_iter().for_each(|key| self.tell_of(key, true));
        }
    }

    /// How many handshakes are under way that end with this process.
    pub(crate) fn bound(&self) -> usize {
        let is_bound = |who: &Waiting| who.is_shaking() && !who.moves(self.answered_move);
        self.waiting.iter().filter(|(_, guest)| is_bound(&guest.who)).count()
    }

    /// Tells whoever watches that somebody is not what it was, or cannot move any more.
    fn tell_of(&mut self, key: usize, has_handshake_changed: bool) {
        if self.touches.is_none() {
            return;
        }
        let guest = &mut self.waiting[key];
        let (moves, id) = (guest.who.moves(self.answered_move), guest.who.cookie.into());
        match (moves, std::mem::replace(&mut guest.is_told_of, moves)) {
            (true, _) => self.touch(Touch::Changed { key, session: has_handshake_changed }),
            (false, true) => self.touch(Touch::Gone { key, id }),
            (false, false) => {}
        }
    }

    fn touch(&mut self, touch: Touch) {
        self.touches.iter_mut().for_each(|touches| touches.push(touch));
    }

    /// The descriptors of those at these keys.
    ///
    /// # Panics
    /// If nobody is at one of them.
    pub(crate) fn descriptors(&self, keys: &mut dyn Iterator<Item = usize>) -> Vec<BorrowedFd<'_>> {
        keys.map(|key| self.waiting[key].who.socket.as_fd()).collect()
    }

    // ── Being filled ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Takes in somebody who waits at another process, which owns it until the commit point, and goes on by the one of these
    /// doorways that is the counterpart of the one there. `lane_here` is the number here of a lane there.
    ///
    /// # Errors
    /// If what is said of it is damaged, or it cannot be registered.
    pub(crate) fn adopt(
        &mut self,
        socket: std::net::TcpStream,
        record: &Record<'_>,
        lane_here: impl Fn(u32) -> Option<usize>,
        doorways: &Doorways,
        registry: &Registry,
    ) -> Result<(), String> {
        let saved = Saved::read(record.session)?;
        let Saved { lane, listener, .. } = saved;
        let lane = lane_here(lane).ok_or_else(|| format!("it is said to come to lane {lane}"))?;
        let (lane, listener, tls) = match doorways.of(lane, listener).cloned() {
            Some(Doorway { lane, listener, tls }) => (lane, listener, Some(tls)),
            // Its handshake goes no further.
            None => (lane, listener.to_owned(), None),
        };
        let socket = TcpStream::from_std(socket);
        let at = socket.local_addr().ok().filter(|at: &SocketAddr| at.port() > 0);
        let (cookie, address) = (record.cookie, record.address);
        let whom = Whom { socket, cookie, address, lane, listener, at };
        let waiting = Waiting::restore(whom, tls, &saved, record);
        // Until when it may take is known when it is this process's.
        let place = self.insert(waiting, registry, Instant::now() + PATIENCE)?;
        self.adopted.insert(cookie, Adopted { place, until_ns: record.deadline_ns.unwrap_or_default() });
        Ok(())
    }

    /// One of those has come further.
    ///
    /// # Errors
    /// If it has not gone on from here.
    pub(crate) fn follow(&mut self, change: &Change<'_>) -> Result<(), String> {
        let adopted = self.adopted.get(&change.cookie).ok_or("the conversation knows somebody who was not adopted")?;
        let who = &mut self.waiting[adopted.place.key].who;
        who.follow(change)?;
        if let Some(session) = change.session {
            who.follow_handshake(&Saved::read(session)?);
        }
        Ok(())
    }

    /// One of those has left the other process. Only the duplicate is closed: the connection is not ours.
    pub(crate) fn discard(&mut self, cookie: u64, registry: &Registry) {
        if let Some(Adopted { place, .. }) = self.adopted.remove(&cookie) {
            drop(self.take_out(place.key, registry));
        }
    }

    /// The clock of the process that they wait at is so far ahead of this one's.
    pub(crate) fn keep_time_of_another(&mut self, ahead_ns: i64) {
        self.ahead_ns = ahead_ns;
    }

    /// They are this process's, and have as long as they had there. Each has a turn: no event tells of what happened before.
    pub(crate) fn begin(&mut self) {
        let (now, now_ns, behind_ns) = (Instant::now(), monotonic_ns(), self.ahead_ns.saturating_neg());
        let mut adopted: Vec<Adopted> = std::mem::take(&mut self.adopted).into_values().collect();
        // They have come in the order in which they were found, not in that in which they came there.
        adopted.sort_unstable_by_key(|adopted| (adopted.until_ns, adopted.place.number));
        for Adopted { place, until_ns } in adopted {
            let left = Duration::from_nanos(until_ns.saturating_add_signed(behind_ns).saturating_sub(now_ns));
            self.waiting[place.key].until = now + left.min(PATIENCE);
            self.queue(place);
            self.wake(place.key);
        }
    }
}

/// Leaves out of a queue for whom it is not meant: in front, and everywhere if that may be more than half of it.
fn tidy(queue: &mut VecDeque<Place>, waiting: &Slab<Guest>, is_meant: impl Fn(&Waiting) -> bool) {
    let is_stale = |place: &Place| !place.holds(waiting, &is_meant);
    while queue.pop_front_if(|place| is_stale(place)).is_some() {}
    if queue.len() > 2 * waiting.len() + STALE_MIN {
        queue.retain(|place| !is_stale(place));
    }
}

impl Originals for Vestibule {
    fn record(&self, key: usize) -> Option<Record<'_>> {
        let Guest { who, until, .. } = self.waiting.get(key)?;
        let left = until.saturating_duration_since(Instant::now()).as_nanos();
        let until_ns = monotonic_ns() + u64::try_from(left).unwrap_or(u64::MAX / 2);
        who.moves(self.answered_move).then(|| who.record(until_ns))
    }

    fn save_session(&self, key: usize, saved: &mut Vec<u8>) {
        self.waiting[key].who.save(saved);
    }

    fn are_secret(&self) -> bool {
        true
    }

    fn save_secured(&self, _: usize, _: &mut Vec<u8>) {}

    fn save_facts(&self, _: usize, _: &mut Vec<u8>) {}
}

impl Source for Vestibule {
    fn register(&mut self, _: &Registry, _: Tokens) -> io::Result<()> {
        // Each of them is, when it comes.
        Ok(())
    }

    fn hear(&mut self, key: usize, _: &Event) {
        self.wake(key);
    }

    fn due(&self, now: Instant) -> Option<Instant> {
        match self.woken.is_empty() {
            _ if self.waiting.is_empty() => None,
            false => Some(now),
            true => [&self.deadlines, &self.farewells].into_iter().filter_map(|queue| self.first(queue)).min(),
        }
    }
}

#[cfg(test)]
mod tests;
