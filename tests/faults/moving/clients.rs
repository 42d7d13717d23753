//! Clients of several servers that give them to one another. Each knows every byte that is to come, and may be lost alone.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;

use super::discreet::Discreet;
use crate::crowd::{Full, Talker};
use crate::harness::{Lost, Peer};

/// From one round of lines to the next, so that many schedules can run at once.
const PACE: Duration = Duration::from_millis(1);

/// After how many rounds of lines at most somebody leaves, or asks to be given to another one.
const ROUNDS_MAX: u32 = 20;

/// A client, and which process had its connection when that was last looked at.
pub(super) struct Client {
    pub(super) owner: usize,
    kind: Kind,
    mood: Mood,
    /// How its connection has ended, although it did not want that.
    lost: Option<Lost>,
}

enum Kind {
    Plain(Talker),
    /// Does not read, so that its answers fill all buffers.
    IsFull(Full),
    /// Either, with TLS.
    Secured(Box<Discreet>),
}

/// What talks, line by line.
pub(super) trait Talks {
    /// Its end of the connection, if it has one.
    fn stream(&self) -> Option<&TcpStream>;

    /// Says a line, whose answer is to be heard before the next.
    fn say(&mut self) -> Result<(), Lost>;

    /// Hears the line that was said, and nothing else.
    fn hear(&mut self) -> Result<(), Lost>;

    fn exchange(&mut self) -> Result<(), Lost>;

    /// Asks to be given to somebody else, and says a line behind it; hears that, from whoever has it then.
    fn ask_for_another(&mut self) -> Result<(), Lost>;

    fn say_half(&mut self);

    fn say_the_rest(&mut self) -> Result<(), Lost>;

    /// What it does before it goes.
    fn leave(&mut self);
}

impl Talks for Talker {
    fn stream(&self) -> Option<&TcpStream> {
        Some(self.peer.stream())
    }

    fn say(&mut self) -> Result<(), Lost> {
        Self::say(self)
    }

    fn hear(&mut self) -> Result<(), Lost> {
        Self::hear(self)
    }

    fn exchange(&mut self) -> Result<(), Lost> {
        Self::exchange(self)
    }

    fn ask_for_another(&mut self) -> Result<(), Lost> {
        Self::ask_for_another(self)
    }

    fn say_half(&mut self) {
        Self::say_half(self);
    }

    fn say_the_rest(&mut self) -> Result<(), Lost> {
        Self::say_the_rest(self)
    }

    fn leave(&mut self) {}
}

/// What a client does while peers are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Says a line, hears it, and says the next.
    Talks,
    /// Has said half a line, and says the rest when all is over.
    Hesitates,
    Listens,
    /// Talks, and after so many rounds it asks to be given to another process.
    Asks(u32),
    /// Talks, and leaves after so many rounds.
    Leaves(u32),
}

impl Mood {
    pub(super) fn any(random: &mut Rng) -> Self {
        match random.u32(0..100) {
            0..50 => Self::Talks,
            50..70 => Self::Hesitates,
            70..80 => Self::Listens,
            80..90 => Self::Asks(random.u32(0..ROUNDS_MAX)),
            _ => Self::Leaves(random.u32(0..ROUNDS_MAX)),
        }
    }
}

impl Client {
    pub(super) fn talks(owner: usize, talker: Talker) -> Self {
        Self::of(owner, Kind::Plain(talker))
    }

    pub(super) fn is_discreet(owner: usize, discreet: Discreet) -> Self {
        Self::of(owner, Kind::Secured(Box::new(discreet)))
    }

    pub(super) fn is_full(owner: usize, full: Full) -> Self {
        Self::of(owner, Kind::IsFull(full))
    }

    fn of(owner: usize, kind: Kind) -> Self {
        Self { owner, kind, mood: Mood::Listens, lost: None }
    }

    /// Its end of the connection, if it has not lost it.
    pub(super) fn stream(&self) -> Option<&TcpStream> {
        match &self.kind {
            _ if self.lost.is_some() => None,
            Kind::Plain(talker) => Some(talker.peer.stream()),
            Kind::Secured(discreet) => discreet.stream(),
            Kind::IsFull(full) => Some(full.peer.stream()),
        }
    }

    /// By which a server knows it, if it has not lost its connection.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.stream().map(|stream| stream.local_addr().expect("a connected socket has an address"))
    }

    pub(super) fn is_secured(&self) -> bool {
        matches!(self.kind, Kind::Secured(_))
    }

    /// Whether its handshake is.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(&self.kind, Kind::Secured(discreet) if discreet.is_under_way())
    }

    /// Whether it has lost its connection because its handshake took too long.
    pub(super) fn is_late(&self) -> bool {
        matches!(&self.kind, Kind::Secured(discreet) if discreet.is_late())
    }

    pub(super) fn has_asked(&self) -> bool {
        matches!(self.mood, Mood::Asks(_))
    }

    pub(super) fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    /// Nobody has its connection any more, as it can see.
    pub(super) fn notice_loss(&mut self) {
        match &mut self.kind {
            Kind::Plain(talker) => self.lost = talker.exchange().err(),
            Kind::Secured(discreet) => self.lost = discreet.notice_loss().err(),
            Kind::IsFull(full) => {
                full.expect_loss();
                self.lost = Some(Lost("nobody has it".to_owned()));
            }
        }
    }

    fn note<T>(&mut self, outcome: Result<T, Lost>) {
        self.lost = self.lost.take().or(outcome.err());
    }

    fn talker(&mut self) -> Option<&mut dyn Talks> {
        match &mut self.kind {
            _ if self.lost.is_some() => None,
            Kind::Plain(talker) => Some(talker),
            Kind::Secured(discreet) if !discreet.is_full() => Some(&mut **discreet),
            Kind::IsFull(_) | Kind::Secured(_) => None,
        }
    }

    fn takes_part(&self) -> bool {
        matches!(self.mood, Mood::Talks | Mood::Asks(_) | Mood::Leaves(_))
    }

    /// The same as one that talks, having read what it has asked for.
    ///
    /// # Errors
    /// If it has lost its connection.
    pub(super) fn that_talks(self) -> Result<Self, Lost> {
        let kind = match self.kind {
            Kind::Plain(talker) => Kind::Plain(talker),
            Kind::IsFull(full) => Kind::Plain(full.read()?),
            Kind::Secured(discreet) => Kind::Secured(Box::new(discreet.that_reads()?)),
        };
        Ok(Self { kind, ..self })
    }

    /// One that speaks TLS ends the connection in an orderly way; of another one, the peer, which does not end it by itself.
    ///
    /// # Errors
    /// If it has lost its connection.
    pub(super) fn end(self) -> Result<Option<Peer>, Lost> {
        match self.kind {
            Kind::Plain(talker) => Ok(Some(talker.peer)),
            Kind::IsFull(full) => Ok(Some(full.peer)),
            Kind::Secured(discreet) => discreet.end().map(|()| None),
        }
    }
}

/// Clients that talk, all at the same time, until they are told to come to an end.
pub(super) struct Chat {
    thread: JoinHandle<Vec<Client>>,
    stopping: Arc<AtomicBool>,
}

impl Chat {
    /// Those who hesitate have done so when this returns. Whoever is in a mood that is not for it gets another one.
    pub(super) fn begin(mut clients: Vec<Client>, mut mood: impl FnMut() -> Mood) -> Self {
        for client in &mut clients {
            client.mood = mood();
            if client.mood == Mood::Hesitates {
                client.talker().into_iter().for_each(Talks::say_half);
            }
        }
        let stopping = Arc::<AtomicBool>::default();
        let stop = stopping.clone();
        let thread = std::thread::spawn(move || {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                take_round(&mut clients, round);
                round += 1;
                std::thread::sleep(PACE);
            }
            clients.iter_mut().for_each(come_to_an_end);
            clients
        });
        Self { thread, stopping }
    }

    /// Those who have not left, after each has been answered all that it has said.
    pub(super) fn end(self) -> Vec<Client> {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().expect("clients hear what they say")
    }
}

/// All who talk say a line, and then all hear one, so that all are on their way at once.
fn take_round(clients: &mut Vec<Client>, round: u32) {
    clients.retain_mut(|client| {
        let leaves = client.lost.is_none() && client.mood == Mood::Leaves(round);
        if leaves {
            client.talker().into_iter().for_each(Talks::leave);
        }
        !leaves
    });
    for client in clients.iter_mut().filter(|client| client.mood == Mood::Asks(round)) {
        let asked = client.talker().map(Talks::ask_for_another);
        asked.into_iter().for_each(|outcome| client.note(outcome));
    }
    for client in clients.iter_mut().filter(|client| client.takes_part()) {
        let said = client.talker().map(Talks::say);
        said.into_iter().for_each(|outcome| client.note(outcome));
    }
    for client in clients.iter_mut().filter(|client| client.takes_part()) {
        let heard = client.talker().map(Talks::hear);
        heard.into_iter().for_each(|outcome| client.note(outcome));
    }
}

fn come_to_an_end(client: &mut Client) {
    let hesitates = client.mood == Mood::Hesitates;
    let ended = client.talker().map(|talker| if hesitates { talker.say_the_rest() } else { talker.exchange() });
    ended.into_iter().for_each(|outcome| client.note(outcome));
}
