//! The supervisor, the queue's socket, the processes of the worker, and the connections: all that can differ between two moments.

use crate::channel::Pid;

/// Process 0 is the worker at the start. Each of the others is started once, as a standby of whoever is the worker then. So there are
/// two deaths that can be survived.
pub const PROCESSES: usize = 3;

/// The supervisor has accepted three, and they are known by these numbers, in the order in which they came.
pub const CONNECTIONS: usize = 3;

/// Some of the connections.
pub type Connections = [bool; CONNECTIONS];

/// Everything that matters of a supervisor, a worker whose process may die, and all other workers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// What the supervisor knows.
    pub supervisor: Supervisor,
    /// The queue between it and the worker.
    pub socket: Socket,
    /// The processes of the worker, by pid.
    pub processes: [Process; PROCESSES],
    /// Whose end is no fault: its process has died and nobody was armed who had it, or the supervisor has ended the queue before it was
    /// told who has it.
    pub excused: Connections,
    /// Of whom the supervisor was told that they could serve on.
    pub announced: [bool; PROCESSES],
    /// The supervisor has ended the queue for a reason of its own.
    pub ended: bool,
    /// The worker has spoken of a connection that is not its own.
    pub breach: bool,
}

/// What the supervisor knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supervisor {
    /// Where each connection is.
    pub places: [Place; CONNECTIONS],
    /// The process that it takes for the worker's.
    pub process: Pid,
    /// Who could serve on in its place, by what it has said.
    pub standby: Option<Pid>,
    /// That process is dead, and it is waited for who serves on.
    pub bereft: bool,
    /// Those before it of whose end it has not been told yet.
    pub former: [bool; PROCESSES],
    /// Those of whose end it has been told.
    pub reaped: [bool; PROCESSES],
    /// The worker is gone, as far as the supervisor knows.
    pub buried: bool,
    /// It has not been looked at who serves on.
    pub unseen: bool,
}

/// Where a connection is, as the supervisor knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It waits for a worker.
    Waiting,
    /// It was sent to the worker, which has not taken it.
    UnderWay,
    /// The worker has taken it.
    Worker,
    /// Another worker serves it.
    Others,
}

/// A socket of packets. All processes of the worker have the same end of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Socket {
    /// The supervisor has not ended it.
    pub open: bool,
    /// What the worker has not read.
    pub to_worker: Vec<ToWorker>,
    /// What the supervisor has not read.
    pub to_supervisor: Vec<ToSupervisor>,
}

/// What a supervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ToWorker {
    Connection(usize),
    /// To this survivor.
    Resumed(Pid),
}

/// What a worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ToSupervisor {
    Took(usize),
    Standby(Option<Pid>),
    Has(usize),
    Survived,
}

/// One process of the worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    /// It was not started yet.
    Unstarted,
    /// It is a standby.
    Follows(Follower),
    /// It is the worker.
    Serves(Server),
    /// It is dead.
    Gone,
}

/// A standby, and what it was told: what is in its channel when the active dies can be read after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    /// Whom it follows.
    pub active: Pid,
    /// It has all that is needed to serve on.
    pub armed: bool,
    /// It has the licence. An active that gives it up takes it back first.
    pub licensed: bool,
    /// The peers, as they were committed.
    pub peers: Connections,
    /// Who was offered, and could have been taken since.
    pub offered: Connections,
}

/// A worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Who follows it.
    pub standby: Option<Pid>,
    /// It has said to the supervisor that this one is armed: nobody is taken of whom that one does not know.
    pub told_armed: bool,
    /// Who was offered, as its standby was told last, and may be taken.
    pub known: Connections,
    /// Who was received, and is not taken.
    pub heard: Connections,
    /// Whom it serves.
    pub peers: Connections,
    /// A survivor's: whom it has to tell of, before it says that it has survived.
    pub to_tell: Connections,
    /// A survivor's: of whom it has told, and whom it lets in then.
    pub told: Connections,
    /// It has not said yet that it has survived.
    pub is_untold: bool,
    /// It passes over what was said to the process before it.
    pub resumes: bool,
    /// It knows that the queue has ended.
    pub gone: bool,
}

impl Server {
    pub(crate) const START: Self = Self {
        standby: None,
        told_armed: false,
        known: [false; CONNECTIONS],
        heard: [false; CONNECTIONS],
        peers: [false; CONNECTIONS],
        to_tell: [false; CONNECTIONS],
        told: [false; CONNECTIONS],
        is_untold: false,
        resumes: false,
        gone: false,
    };
}

impl Process {
    pub(crate) fn follower(&self) -> Option<Follower> {
        match self {
            Self::Follows(follower) => Some(*follower),
            _ => None,
        }
    }

    pub(crate) fn server(&self) -> Option<Server> {
        match self {
            Self::Serves(server) => Some(*server),
            _ => None,
        }
    }

    /// Whether it has the worker's end of the queue.
    pub(crate) fn has_queue(&self) -> bool {
        matches!(self, Self::Follows(_) | Self::Serves(_))
    }
}

impl State {
    /// The worker serves nobody yet, and nobody follows it.
    pub(crate) fn start() -> Self {
        let mut processes = [const { Process::Unstarted }; PROCESSES];
        processes[0] = Process::Serves(Server::START);
        Self {
            supervisor: Supervisor {
                places: [Place::Waiting; CONNECTIONS],
                process: 0,
                standby: None,
                bereft: false,
                former: [false; PROCESSES],
                reaped: [false; PROCESSES],
                buried: false,
                unseen: false,
            },
            socket: Socket { open: true, to_worker: Vec::new(), to_supervisor: Vec::new() },
            processes,
            excused: [false; CONNECTIONS],
            announced: [false; PROCESSES],
            ended: false,
            breach: false,
        }
    }

    /// Whoever serves, with its pid.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (Pid, Server)> {
        self.processes.iter().enumerate().filter_map(|(pid, process)| Some((pid, process.server()?)))
    }

    /// Whether this process is dead.
    pub(crate) fn is_gone(&self, pid: Pid) -> bool {
        self.processes[pid] == Process::Gone
    }

    /// The standby of this server, if it lives.
    pub(crate) fn standby_of(&self, server: &Server) -> Option<(Pid, Follower)> {
        let pid = server.standby?;
        Some((pid, self.processes[pid].follower()?))
    }

    /// Whether this process serves on if it finds that its active is dead.
    pub(crate) fn is_heir(&self, follower: &Follower) -> bool {
        follower.armed && follower.licensed && self.is_gone(follower.active)
    }
}
