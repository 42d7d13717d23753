//! The processes, what an active and its standby share, and the clients: all that can differ between two moments.

use crate::channel::Pid;

/// Process 0 serves at the start, alone. Each of the others is started once: as a standby, or as a successor. So there are two
/// deaths that can be survived.
pub const PROCESSES: usize = 3;

/// Client 0 may say what kills; of what client 1 says, client 0 is told, too. In a run in which they are joined, what client 0
/// says is passed on to client 1.
pub const CLIENTS: usize = 2;
/// Whose message may be poisonous, and whose bytes are passed on.
pub const FROM: usize = 0;
/// To whom they are passed on.
pub const TO: usize = 1;

/// How much each client says: of the first enough for a read that brings two messages, and for another one after a death; of the other
/// one enough for two reads in the intake. With two of that one, too, there are many times as many states, which take more than 3 GB.
pub const MESSAGES_MAX: [u8; CLIENTS] = [2, 1];

/// How often somebody is stopped in a run: whoever is stopped later meets what it would have met then.
pub const STOPS_MAX: u8 = 1;

/// What a service has said by itself, before it joined two.
pub const GREETING: u8 = CLIENTS as u8;

/// Everything that matters of a machine with two clients, a server, and whoever follows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The processes, by pid.
    pub processes: [Process; PROCESSES],
    /// What each standby shares with its active, by the standby's pid.
    pub links: [Option<Link>; PROCESSES],
    /// Whose the licence is that this standby was given. Whoever takes over from its active may have it, too.
    pub licences: [Option<Licence>; PROCESSES],
    /// The connections, as clients and kernel see them.
    pub clients: [Client; CLIENTS],
    /// The two are joined.
    pub joined: bool,
    /// Which message of client 0 kills whoever handles it.
    pub poison: Option<u8>,
    /// Who owns the peers. Nobody, between a death and whoever serves on.
    pub owner: Option<Pid>,
    /// The server was told to stop.
    pub over: bool,
    /// The owner has died, and nobody could serve on.
    pub lost: bool,
    /// Somebody was stopped so often.
    pub stops: u8,
    /// A channel has ended between two that live.
    pub broke: bool,
    /// A takeover was asked for.
    pub takeover_asked: bool,
    /// One is under way, and when it began, somebody followed who was armed.
    pub armed_at_takeover: bool,
    /// The owner has died, and somebody is to serve on: nobody else has been killed since.
    pub owed: bool,
    /// All was lost, although somebody should have served on.
    pub lost_though_armed: bool,
    /// Who was to serve on in place of an active that is to be killed is gone.
    pub heir_gone: bool,
    /// So many has the poisonous message killed.
    pub poison_kills: u8,
    /// It has killed again, although nobody would survive that.
    pub poison_kills_unarmed: bool,
    /// What was put aside has been waited for long enough: no standby comes.
    pub patience_ended: bool,
    /// A standby has killed an active that had its licence no more for it.
    pub fenced_unlicensed: bool,
}

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// So many messages has the client said.
    pub said: u8,
    /// So many were read: the kernel's counter.
    pub read: u8,
    /// What was written to it: the length is the kernel's other counter.
    pub received: Vec<Answer>,
    /// Its connection was reset, and why.
    pub reset: Option<Verdict>,
    /// So many deaths in a row have come before what was read of it was committed.
    pub unhandled_deaths: u8,
}

/// Why a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Verdict {
    Doubt,
    Poison,
}

/// Something that is said to a client: a record, where it speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The number under which it is sealed.
    pub sequence: u8,
    /// Whose message it is about, or [`GREETING`].
    pub about: u8,
    /// Which of them.
    pub number: u8,
    /// Who has handled it. No service is deterministic: another process says something else.
    pub by: Pid,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Whether it runs.
    pub life: Life,
    /// What it does.
    pub role: Role,
}

/// Whether a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Life {
    Running,
    Stopped,
    /// It was killed, or has exited: no thread of it runs any more.
    Dead,
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It was not started yet.
    Unstarted,
    /// It is a standby.
    Follows(Follower),
    /// It takes over.
    TakesOver(Successor),
    /// It serves.
    Serves(Server),
    /// It is gone.
    Gone,
}

/// A process that takes over, up to Accept, and its channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Successor {
    /// From whom it takes over.
    pub from: Pid,
    /// It was given the licence that this standby has.
    pub licence_of: Option<Pid>,
    /// Commit is in the channel, and with it all that it is told of the peers.
    pub committed: Option<Book>,
    /// It has passed the licence on to itself.
    pub passed_on: bool,
    /// Accept is in the channel before that: what only a mutant does.
    pub accepted: bool,
    /// The predecessor has shut the channel down.
    pub ended: bool,
}

/// `follower.rs`, up to the death of the active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    /// Whom it follows.
    pub active: Pid,
    /// The first mark is applied: it could serve on.
    pub marked: bool,
    /// What it is about to do.
    pub intent: Intent,
}

/// What a standby is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// It follows, or looks what has become of the active.
    Follow,
    /// The active hangs: it has claimed the licence, and kills it.
    Kill,
    /// It has seen that it might claim: what only a mutant does by itself.
    Claim,
}

/// `licence.rs`: the word that three processes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Licence {
    Lent,
    Claimed,
    PassedOn,
    TakenBack,
}

impl Licence {
    /// Whether the standby owns the peers when the active is dead, if it is armed by then.
    pub(crate) fn is_the_standbys(self) -> bool {
        matches!(self, Self::Lent | Self::Claimed)
    }
}

/// A process that serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// What it knows of all peers.
    pub book: Book,
    /// Where it is.
    pub at: At,
    /// Something that had waited was written to the peer since the last commit: `Known::written_after`.
    pub written_since: [bool; CLIENTS],
}

/// Where an active is, between two of its calls and stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// Between two turns.
    Polls,
    /// The intake has the read; the kernel is asked for it.
    Reads(usize),
    /// The kernel has written so many messages to the intake, which does not say how many.
    HasRead(usize, u8),
    /// The commit counts. The intake has not been emptied.
    Commits,
    /// Those have their turn for which they have waited.
    LetsOut([bool; CLIENTS]),
    /// So many messages were peeked at, and the mapping says that they are passed on.
    Conveys(u8),
    /// They are written to the one.
    HasWritten(u8),
    /// They are taken off the other.
    HasTakenOff,
    /// It has taken back the licence, and has not closed the channel. It stops then, perhaps.
    TakesBack {
        /// It was told to stop.
        stops: bool,
    },
    /// It was told to stop.
    Stops,
    /// It has found its licence claimed: it was taken for one that hangs, and kills itself.
    Yields,
    /// Its successor is ready, and the licence is on its way to that. Nothing is read, handled or written from here on.
    Offers,
    /// The successor is sent what is pending.
    Freezes,
    /// Commit is in the channel.
    Waits {
        /// And so is Accept.
        accepted: bool,
    },
    /// It takes the takeover for failed, and has taken back the licence. The channel is open.
    Recalls {
        /// Accept is there.
        accepted: bool,
    },
    /// It has shut the channel down. It has not looked whether Accept is there.
    Looks {
        /// It is.
        accepted: bool,
    },
}

impl At {
    /// Whether it leaves the peers alone, because they may be somebody else's at any moment.
    pub(crate) fn is_frozen(self) -> bool {
        matches!(self, Self::Offers | Self::Freezes | Self::Waits { .. }) || self.has_given_up()
    }

    /// Whether it has taken back the licence, since a takeover has failed that might have come through.
    fn has_given_up(self) -> bool {
        matches!(self, Self::Recalls { .. } | Self::Looks { .. })
    }

    /// The same, or because its standby is to follow no more.
    fn has_taken_back(self) -> bool {
        self.has_given_up() || matches!(self, Self::TakesBack { .. } | Self::Stops)
    }
}

/// What a process knows of all peers, and what they share: what a commit tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Book {
    /// The peers.
    pub peers: [Peer; CLIENTS],
    /// What all share: how many messages were handled.
    pub shared: u8,
}

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Its session: so many of its messages were handled.
    pub handled: u8,
    /// The position of the first byte that is pending, which is also the number of its record.
    pub start: u8,
    /// What is pending.
    pub pending: Vec<Answer>,
    /// By how much the kernel's count is ahead of positions, as it was when something was held back last.
    pub offset: u8,
    /// So many messages were put aside: `Holds::SUSPECT`, and what is kept of the input.
    pub aside: u8,
}

/// What an active and its standby share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Who is followed.
    pub active: Pid,
    /// The active still takes it for its standby.
    pub followed: bool,
    /// Neither end of the channel is closed, and it is not broken.
    pub open: bool,
    /// The active's last word is in the channel.
    pub refused: bool,
    /// How far the first mark has come.
    pub mark: Mark,
    /// The journal up to the word `committed`.
    pub committed: Option<Book>,
    /// What is in the intake.
    pub intake: Vec<Read>,
    /// What is on its way from one peer to the other.
    pub conveyed: Option<Conveyed>,
}

/// How far the first mark has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Mark {
    Unsent,
    Sent,
    /// Copied is in the channel.
    Applied,
    /// The active has heard that: the standby is armed.
    Heard,
}

/// `mapping::Read`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// Of whom.
    pub peer: usize,
    /// The kernel's count before it.
    pub before: u8,
    /// How many messages came. `None`: it is under way.
    pub came: Option<u8>,
    /// It is of a commit before.
    pub obsolete: bool,
}

/// `mapping::Conveyed`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conveyed {
    /// How much was read of the one before.
    pub read: u8,
    /// How much was written to the other before.
    pub written: u8,
}

impl Client {
    /// The kernel's count of what was written to it.
    pub(crate) fn written(&self) -> u8 {
        self.received.len() as u8
    }

    /// What nobody has read.
    pub(crate) fn unread(&self) -> u8 {
        self.said - self.read
    }
}

impl Peer {
    /// Something is said to it: sealed, and pending.
    pub(crate) fn say(&mut self, about: u8, number: u8, by: Pid) {
        let sequence = self.start + self.pending.len() as u8;
        self.pending.push(Answer { sequence, about, number, by });
    }

    /// So much of what is pending was written.
    pub(crate) fn have_written(&mut self, count: u8) -> Vec<Answer> {
        self.start += count;
        self.pending.drain(..usize::from(count)).collect()
    }
}

impl Process {
    const UNSTARTED: Self = Self { life: Life::Running, role: Role::Unstarted };

    pub(crate) fn runs(&self) -> bool {
        self.life == Life::Running
    }

    pub(crate) fn server(&self) -> Option<&Server> {
        match &self.role {
            Role::Serves(server) if self.life != Life::Dead => Some(server),
            _ => None,
        }
    }

    /// Whether it has found that it was taken for one that hangs.
    pub(crate) fn has_to_end(&self) -> bool {
        self.server().is_some_and(|server| server.at == At::Yields)
    }

    pub(crate) fn successor(&self) -> Option<&Successor> {
        match &self.role {
            Role::TakesOver(successor) if self.life != Life::Dead => Some(successor),
            _ => None,
        }
    }

    pub(crate) fn follower(&self) -> Option<&Follower> {
        match &self.role {
            Role::Follows(follower) if self.life != Life::Dead => Some(follower),
            _ => None,
        }
    }
}

impl State {
    /// Process 0 serves, and nothing has happened yet. Of two that are joined, something is pending for one.
    pub(crate) fn start(joined: bool) -> Self {
        let mut book = Book::default();
        if joined {
            book.peers[TO].say(GREETING, 1, 0);
        }
        let server = Server { book, at: At::Polls, written_since: [false; CLIENTS] };
        let active = Process { life: Life::Running, role: Role::Serves(server) };
        Self {
            processes: [active, Process::UNSTARTED, Process::UNSTARTED],
            links: [const { None }; PROCESSES],
            licences: [None; PROCESSES],
            clients: Default::default(),
            joined,
            poison: None,
            owner: Some(0),
            over: false,
            lost: false,
            stops: 0,
            broke: false,
            takeover_asked: false,
            armed_at_takeover: false,
            owed: false,
            lost_though_armed: false,
            heir_gone: false,
            poison_kills: 0,
            poison_kills_unarmed: false,
            patience_ended: false,
            fenced_unlicensed: false,
        }
    }

    pub(crate) fn server_mut(&mut self, pid: Pid) -> &mut Server {
        match &mut self.processes[pid].role {
            Role::Serves(server) => server,
            role => unreachable!("process {pid} serves, and is not {role:?}"),
        }
    }

    pub(crate) fn follower_mut(&mut self, pid: Pid) -> &mut Follower {
        match &mut self.processes[pid].role {
            Role::Follows(follower) => follower,
            role => unreachable!("process {pid} follows, and is not {role:?}"),
        }
    }

    /// Whom a process takes for its standby.
    pub(crate) fn standby_of(&self, active: Pid) -> Option<Pid> {
        let is_of = |link: &Link| link.active == active && link.followed;
        self.links.iter().position(|link| link.as_ref().is_some_and(is_of))
    }

    /// What it shares with that.
    pub(crate) fn link_of(&self, active: Pid) -> Option<&Link> {
        self.links[self.standby_of(active)?].as_ref()
    }

    pub(crate) fn link_of_mut(&mut self, active: Pid) -> Option<&mut Link> {
        let standby = self.standby_of(active)?;
        self.links[standby].as_mut()
    }

    /// The channel of a standby, and what it shares.
    pub(crate) fn link(&self, standby: Pid) -> &Link {
        self.links[standby].as_ref().expect("whoever follows shares something")
    }

    pub(crate) fn link_mut(&mut self, standby: Pid) -> &mut Link {
        self.links[standby].as_mut().expect("whoever follows shares something")
    }

    /// Whether the active takes its standby for armed.
    pub(crate) fn is_sheltered(&self, active: Pid) -> bool {
        self.link_of(active).is_some_and(|link| link.mark == Mark::Heard)
    }

    /// Whose the licence is that an active has given its standby.
    pub(crate) fn licence_of(&self, active: Pid) -> Option<Licence> {
        self.licences[self.standby_of(active)?]
    }

    /// The word that a standby has, or a successor.
    pub(crate) fn licence_mut(&mut self, standby: Pid) -> &mut Licence {
        self.licences[standby].as_mut().expect("whoever has it keeps it")
    }

    /// Who would serve on if this process died, and nobody was quicker: a standby that has applied the first mark, or will since it is in
    /// the channel, and whose licence is neither passed on nor taken back.
    pub(crate) fn heir_of(&self, active: Pid) -> Option<Pid> {
        (0..PROCESSES).find(|&pid| {
            let follower = self.processes[pid].follower().filter(|follower| follower.active == active);
            let is_the_standbys = self.licences[pid].is_some_and(Licence::is_the_standbys);
            is_the_standbys && follower.is_some_and(|follower| follower.marked || self.link(pid).mark == Mark::Sent)
        })
    }

    /// Who may be started.
    pub(crate) fn unstarted(&self) -> Option<Pid> {
        self.processes.iter().position(|process| process.role == Role::Unstarted)
    }

    /// Who takes over from a process, as far as that knows.
    pub(crate) fn successor_of(&self, pid: Pid) -> Option<Pid> {
        let is_of = |successor: &Successor| successor.from == pid && !successor.ended;
        self.processes.iter().position(|process| process.successor().is_some_and(is_of))
    }

    pub(crate) fn successor_mut(&mut self, pid: Pid) -> &mut Successor {
        match &mut self.processes[pid].role {
            Role::TakesOver(successor) => successor,
            role => unreachable!("process {pid} takes over, and is not {role:?}"),
        }
    }

    /// Whether somebody takes over, or some process does not know yet that nobody does.
    pub(crate) fn is_takeover_under_way(&self) -> bool {
        let is_frozen = |process: &Process| process.server().is_some_and(|server| server.at.is_frozen());
        (0..PROCESSES).any(|pid| self.successor_of(pid).is_some() || is_frozen(&self.processes[pid]))
    }

    /// Whether the death of this process is to be survived: its standby is armed, and whoever has the licence lives; or nothing has
    /// befallen anybody since somebody began to take over beside an armed standby, and the takeover has not failed.
    fn is_to_be_survived(&self, pid: Pid) -> bool {
        let Some(at) = self.processes[pid].server().map(|server| server.at) else { return false };
        let follows = |process: &Process| process.follower().is_some_and(|follower| follower.active == pid);
        let is_taken_over = self.successor_of(pid).is_some();
        let lives = match self.licence_of(pid) {
            Some(Licence::PassedOn) => is_taken_over,
            _ => self.standby_of(pid).is_some_and(|standby| follows(&self.processes[standby])),
        };
        let is_armed = self.is_sheltered(pid) && lives && !at.has_taken_back();
        let nothing_else = self.stops == 0 && !self.broke && self.processes.iter().any(follows);
        is_armed || (self.armed_at_takeover && is_taken_over && nothing_else && !at.has_given_up())
    }

    /// Whether this process has Commit of a predecessor that has died since, and may own the peers: it has passed the licence on to
    /// itself, or may, or there is none, and its Accept comes before the channel is closed.
    pub(crate) fn may_inherit(&self, pid: Pid) -> bool {
        let may = |successor: &Successor| {
            let is_dead = self.processes[successor.from].life == Life::Dead;
            let licence = successor.licence_of.and_then(|standby| self.licences[standby]);
            let is_free = successor.passed_on || matches!(licence, None | Some(Licence::Lent));
            is_dead && successor.committed.is_some() && !successor.ended && is_free
        };
        self.owner.is_none() && self.processes[pid].successor().is_some_and(may)
    }

    /// All is lost as soon as nobody is left who may own the peers.
    pub(crate) fn note_loss(&mut self) {
        let is_dead = |process: &Process| process.life == Life::Dead;
        let serves_on = |pid: Pid| is_dead(&self.processes[pid]) && self.heir_of(pid).is_some();
        if self.owner.is_none() && !self.over && !(0..PROCESSES).any(|pid| serves_on(pid) || self.may_inherit(pid)) {
            self.lost = true;
            self.lost_though_armed |= self.owed;
        }
    }

    /// A process is killed.
    pub(crate) fn kill(&mut self, pid: Pid) {
        // That is another death than the owner's.
        self.owed &= self.owner.is_some();
        self.die(pid);
    }

    /// A process kills itself, since it was taken for one that hangs: somebody is to be there, who wanted to.
    pub(crate) fn yields(&mut self, pid: Pid) {
        let is_owner = self.owner == Some(pid);
        self.die(pid);
        self.owed |= is_owner && !self.heir_gone;
    }

    /// A process is gone: the kernel closes what it held.
    pub(crate) fn die(&mut self, pid: Pid) {
        let is_to_end = |pid: Pid| self.processes[pid].has_to_end();
        let process = &self.processes[pid];
        self.heir_gone |= process.successor().is_some_and(|successor| is_to_end(successor.from))
            || process.follower().is_some_and(|follower| follower.intent == Intent::Kill || is_to_end(follower.active));
        if self.owner == Some(pid) {
            self.owed = self.is_to_be_survived(pid);
            self.owner = None;
        }
        self.processes[pid] = Process { life: Life::Dead, role: Role::Gone };
        for link in self.links.iter_mut().flatten().filter(|link| link.active == pid) {
            link.open = false;
        }
        if let Some(link) = &mut self.links[pid] {
            link.open = false;
        }
    }

    /// Takes away differences that nobody could notice.
    pub(crate) fn tidy(&mut self) {
        for pid in 0..PROCESSES {
            let used = self.processes[pid].follower().is_some()
                || self.links[pid]
                    .as_ref()
                    .is_some_and(|link| link.followed && self.processes[link.active].server().is_some());
            if !used {
                self.links[pid] = None;
            }
            let has_it = |successor: &Successor| successor.licence_of == Some(pid);
            if !used && !self.processes.iter().filter_map(Process::successor).any(has_it) {
                self.licences[pid] = None;
            }
        }
        self.armed_at_takeover &= self.is_takeover_under_way();
        self.owed &= self.owner.is_none() && !self.lost && !self.over;
        self.heir_gone &=
            self.licences.contains(&Some(Licence::Claimed)) || self.processes.iter().any(Process::has_to_end);
        if self.lost || self.over {
            self.clients = Default::default();
            self.poison = None;
            self.poison_kills = 0;
        }
    }
}
