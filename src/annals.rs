//! What has happened to a server: it is told to whoever observes it, and remembered for whoever asks.

use reactord_process::log_level::name_of;

use crate::account::{Account, ServiceAccount, unix_ms};
use crate::build_id::BUILD;
use crate::lane::AnyLane;
use crate::lanes::Lanes;
use crate::listen::Target;
use crate::milestone::{Milestone, Observer, Takeover};
use crate::sources::Listener;
use crate::status::{FailureStatus, HeldStatus, ListenerStatus, ServiceStatus, Status, TakeoverStatus};
use crate::table::Held;

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

    /// What goes on in a successor of a server that has these lanes.
    pub(crate) fn account(&self, lanes: &impl Lanes) -> Account {
        let services = lanes.all().map(|lane| {
            let tally = lane.table().tally();
            let (accepted, received_bytes, sent_bytes) = (tally.accepted, tally.received_bytes, tally.sent_bytes);
            ServiceAccount { name: lane.name().to_owned(), accepted, received_bytes, sent_bytes }
        });
        Account { services: services.collect(), ..self.account.clone() }
    }

    /// The predecessor had kept count of this.
    pub(crate) fn inherit(&mut self, mut account: Account, lanes: &mut impl Lanes) {
        let services = std::mem::take(&mut account.services);
        lanes.each(|lane| {
            let before = services.iter().find(|service| service.name == lane.name());
            before.into_iter().for_each(|before| lane.table_mut().count_on_from(before));
        });
        self.account = account.of_successor();
    }

    /// Something has happened: it is remembered, and whoever observes the server is told.
    pub(crate) fn tell(&mut self, milestone: Milestone<'_>) {
        match &milestone {
            Milestone::TakenOver(takeover) => {
                takeover.pause.into_iter().for_each(|pause| self.account.pauses.note(pause));
                self.takeover = Some(of_takeover(takeover));
            }
            Milestone::TakeoverFailed { pid, why } => {
                self.account.failed_takeovers += 1;
                self.failure = Some(FailureStatus { at_unix_ms: unix_ms(), pid: *pid, why: (*why).to_owned() });
            }
            Milestone::Gave { peers, .. } => self.account.gave += peers,
            Milestone::Took { peers, .. } => self.account.took += peers,
            Milestone::Survived(_) => self.account.deaths += 1,
            Milestone::Ready(_)
            | Milestone::Follows { .. }
            | Milestone::Armed { .. }
            | Milestone::StandbyLost { .. }
            | Milestone::TakeoverBegins { .. }
            | Milestone::HandedOver(_)
            | Milestone::Heartbeat(_)
            | Milestone::LogLevel(_)
            | Milestone::Stopping => {}
        }
        self.observer.tell(milestone);
    }

    /// More is known of the failure that was told last, if it was for this reason.
    pub(crate) fn explain_failure(&mut self, reason: &str, why: &str) {
        if let Some(failure) = self.failure.as_mut().filter(|failure| failure.why == reason) {
            why.clone_into(&mut failure.why);
        }
    }

    /// How the server stands that has these lanes and listeners.
    pub(crate) fn status<'l>(&self, lanes: &impl Lanes, listeners: impl Iterator<Item = &'l Listener>) -> Status {
        let Account { generation, began_unix_ms, gave, took, failed_takeovers, deaths, ref pauses, .. } = self.account;
        let services: Vec<ServiceStatus> = lanes.all().map(of_service).collect();
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
            accepted: services.iter().map(|service| service.accepted).sum(),
            services,
            listeners: listeners.collect(),
            gave,
            took,
            failed_takeovers,
            deaths_survived: deaths,
            takeover: self.takeover.clone(),
            failure: self.failure.clone(),
            pauses: pauses.clone(),
            log_level: name_of(log::max_level()),
            ..Status::default()
        }
    }
}

fn of_service(lane: &dyn AnyLane) -> ServiceStatus {
    let tally = lane.table().tally();
    let Held { any, output, partner, asked, given, suspect: _ } = tally.held;
    ServiceStatus {
        name: lane.name().to_owned(),
        state_version: lane.state_version(),
        peers: lane.peers() as u64,
        accepted: tally.accepted,
        received_bytes: tally.received_bytes,
        sent_bytes: tally.sent_bytes,
        held: HeldStatus { any, output, partner, asked, given },
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
        rounds: takeover.rounds,
        dirty: takeover.dirty,
    }
}
