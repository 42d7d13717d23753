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
    /// All was lost by a death that somebody should have survived.
    pub lost_though_armed: bool,
    /// So many has the poisonous message killed.
    pub poison_kills: u8,
    /// It has killed again, although nobody would survive that.
    pub poison_kills_unarmed: bool,
    /// What was put aside has been waited for long enough: no standby comes.
    pub patience_ended: bool,
    /// A standby has set about killing an active that had taken back its licence before that.
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
    /// Commit is in the channel, and with it all that it is told of the peers.
    pub committed: Option<Book>,
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
    /// It has found that the active hangs, and has looked at its licence.
    pub fences: bool,
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
    /// Somebody takes over, and is sent what is pending. Nothing is read, handled or written.
    Freezes,
    /// The same, and the licence is taken back. Commit is not in the channel.
    Concludes,
    /// Commit is.
    Waits {
        /// And so is Accept.
        accepted: bool,
    },
    /// It takes the takeover for failed, and has shut the channel down. It has not looked whether Accept is there.
    Looks {
        /// It is.
        accepted: bool,
    },
}

impl At {
    /// Whether it leaves the peers alone, because they may be somebody else's at any moment.
    pub(crate) fn is_frozen(self) -> bool {
        self == Self::Freezes || self.is_committing()
    }

    /// Whether it has taken back the licence, since a successor may own the peers soon.
    fn is_committing(self) -> bool {
        matches!(self, Self::Concludes | Self::Waits { .. } | Self::Looks { .. })
    }

    /// The same, or because its standby is to follow no more.
    fn has_taken_back(self) -> bool {
        self.is_committing() || matches!(self, Self::TakesBack { .. } | Self::Stops)
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
    /// `licence.rs`: it was not taken back.
    pub licensed: bool,
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
            lost_though_armed: false,
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

    /// Who would serve on if this process died: a standby that has applied the first mark, or will since it is in the channel, and
    /// whose licence was not taken back.
    pub(crate) fn heir_of(&self, active: Pid) -> Option<Pid> {
        let is_heir = |pid: Pid, link: &Link| {
            let marked =
                self.processes[pid].follower().is_some_and(|follower| follower.marked || link.mark == Mark::Sent);
            link.active == active && link.licensed && marked
        };
        (0..PROCESSES).find(|&pid| self.links[pid].as_ref().is_some_and(|link| is_heir(pid, link)))
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

    /// Whether the death of this process is to be survived: its standby lives, and is armed, or was when somebody began to take over,
    /// and nothing has befallen it since; and nobody is about to own the peers.
    fn is_to_be_survived(&self, pid: Pid) -> bool {
        let Some(at) = self.processes[pid].server().map(|server| server.at) else { return false };
        let follows = |process: &Process| process.follower().is_some_and(|follower| follower.active == pid);
        let is_armed = self.is_sheltered(pid)
            && self.standby_of(pid).is_some_and(|standby| follows(&self.processes[standby]))
            && !at.has_taken_back();
        let was_armed = self.armed_at_takeover && self.successor_of(pid).is_some();
        let nothing_else = self.stops == 0 && !self.broke && self.processes.iter().any(follows);
        is_armed || (was_armed && nothing_else && !at.is_committing())
    }

    /// Whether this process has Commit of a predecessor that has died since. It owns the peers if its Accept is in the channel before
    /// that is closed.
    pub(crate) fn may_inherit(&self, pid: Pid) -> bool {
        let may = |successor: &Successor| {
            let is_dead = self.processes[successor.from].life == Life::Dead;
            is_dead && successor.committed.is_some() && !successor.ended
        };
        self.owner.is_none() && self.processes[pid].successor().is_some_and(may)
    }

    /// A process is killed. If it was about to serve on, nobody else will.
    pub(crate) fn kill(&mut self, pid: Pid) {
        let was_heir =
            self.processes[pid].follower().is_some_and(|follower| self.heir_of(follower.active) == Some(pid));
        self.lost |= was_heir && self.owner.is_none() && !self.over;
        self.leave(pid);
    }

    /// A process finds that it is not to serve. If it could have in place of a dead predecessor, nobody does.
    pub(crate) fn leave(&mut self, pid: Pid) {
        self.lost |= self.may_inherit(pid);
        self.die(pid);
    }

    /// A process is gone: the kernel closes what it held.
    pub(crate) fn die(&mut self, pid: Pid) {
        if self.owner == Some(pid) {
            self.owner_dies(pid);
        }
        self.processes[pid] = Process { life: Life::Dead, role: Role::Gone };
        for link in self.links.iter_mut().flatten().filter(|link| link.active == pid) {
            link.open = false;
        }
        if let Some(link) = &mut self.links[pid] {
            link.open = false;
        }
    }

    fn owner_dies(&mut self, pid: Pid) {
        self.owner = None;
        let Some(heir) = self.heir_of(pid) else {
            let has_commit = self.successor_of(pid).is_some_and(|successor| {
                self.processes[successor].successor().is_some_and(|successor| successor.committed.is_some())
            });
            self.lost = !self.over && !has_commit;
            self.lost_though_armed |= self.lost && self.is_to_be_survived(pid);
            return;
        };
        let committed = self.link(heir).committed.clone().unwrap_or_default();
        for (client, peer) in self.clients.iter_mut().zip(&committed.peers) {
            let unhandled = !self.joined && client.read > peer.handled;
            client.unhandled_deaths = if unhandled { (client.unhandled_deaths + 1).min(2) } else { 0 };
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
        }
        self.armed_at_takeover &= self.is_takeover_under_way();
        if self.lost || self.over {
            self.clients = Default::default();
            self.poison = None;
            self.poison_kills = 0;
        }
    }
}
