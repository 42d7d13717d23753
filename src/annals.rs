//! What has happened to a server: it is told to whoever observes it, and remembered for whoever asks.

use crate::account::{Account, unix_ms};
use crate::lanes::Lanes;
use crate::listen::Target;
use crate::milestone::{Milestone, Observer, Takeover};
use crate::sources::Listener;
use crate::status::{FailureStatus, ListenerStatus, ServiceStatus, Status, TakeoverStatus};
use crate::takeover::wire::BUILD;

/// What a server remembers.
#[derive(Debug)]
pub(crate) struct Annals {
    account: Account,
    serves_since_unix_ms: u64,
    takeover: Option<TakeoverStatus>,
    failure: Option<FailureStatus>,
    observer: Observer,
}

impl Annals {
    /// Those of a server that begins.
    pub(crate) fn open() -> Self {
        let account = Account::open();
        let serves_since_unix_ms = account.began_unix_ms;
        Self { account, serves_since_unix_ms, takeover: None, failure: None, observer: Observer::default() }
    }

    /// Which of the processes that have been this server it is, from 1 on.
    pub(crate) fn generation(&self) -> u64 {
        self.account.generation
    }

    /// From now on somebody is told what happens.
    pub(crate) fn observed_by(&mut self, observer: Observer) {
        self.observer = observer;
    }

    /// What goes on in a successor.
    pub(crate) fn account(&self) -> Account {
        self.account
    }

    /// The predecessor had kept count of this.
    pub(crate) fn inherit(&mut self, account: Account) {
        self.account = account.of_successor();
    }

    pub(crate) fn accepted(&mut self) {
        self.account.accepted += 1;
    }

    /// Something has happened: it is remembered, and whoever observes the server is told.
    pub(crate) fn tell(&mut self, milestone: Milestone<'_>) {
        match &milestone {
            Milestone::TakenOver(takeover) => self.takeover = Some(of_takeover(takeover)),
            Milestone::TakeoverFailed { pid, why } => {
                self.account.failed_takeovers += 1;
                self.failure = Some(FailureStatus { at_unix_ms: unix_ms(), pid: *pid, why: (*why).to_owned() });
            }
            Milestone::Gave { peers, .. } => self.account.gave += peers,
            Milestone::Took { peers, .. } => self.account.took += peers,
            Milestone::Ready(_)
            | Milestone::TakeoverBegins { .. }
            | Milestone::HandedOver(_)
            | Milestone::Heartbeat(_)
            | Milestone::Stopping => {}
        }
        self.observer.tell(milestone);
    }

    /// How the server stands that has these lanes and listeners.
    pub(crate) fn status<'l>(&self, lanes: &impl Lanes, listeners: impl Iterator<Item = &'l Listener>) -> Status {
        let Account { generation, began_unix_ms, accepted, gave, took, failed_takeovers } = self.account;
        let services = lanes.all().map(|lane| ServiceStatus {
            name: lane.name().to_owned(),
            state_version: lane.state_version(),
            peers: lane.peers() as u64,
        });
        let listeners = listeners.map(|listener| ListenerStatus {
            name: listener.name().to_owned(),
            at: match listener.at() {
                Target::Tcp(address) => address.to_string(),
                Target::Unix(path) => path.display().to_string(),
            },
        });
        Status {
            build: BUILD.to_owned(),
            pid: std::process::id(),
            generation,
            began_unix_ms,
            serves_since_unix_ms: self.serves_since_unix_ms,
            services: services.collect(),
            listeners: listeners.collect(),
            accepted,
            gave,
            took,
            failed_takeovers,
            takeover: self.takeover.clone(),
            failure: self.failure.clone(),
            ..Status::default()
        }
    }
}

fn of_takeover(takeover: &Takeover) -> TakeoverStatus {
    TakeoverStatus {
        at_unix_ms: unix_ms(),
        predecessor_pid: takeover.predecessor_pid,
        peers: takeover.peers,
        pause_us: takeover.pause.map(|pause| u64::try_from(pause.as_micros()).unwrap_or(u64::MAX)),
        copy_us: u64::try_from(takeover.copy.as_micros()).unwrap_or(u64::MAX),
        bytes: takeover.bytes,
    }
}
