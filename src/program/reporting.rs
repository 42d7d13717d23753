//! What a server program makes of a server's milestones: it does what the server leaves to its program, and tells the service
//! manager, if one has started it.

use std::fmt;
use std::time::Duration;

use reactord_cli::logger;
use reactord_cli::service_manager::{ServiceManager, Word};

use crate::{Config, Inheritance, Milestone, Server, Status, TakeoverStatus};

/// How often it is looked whether what a person reads has changed, and how often a server that has taken over gives a sign
/// of life: nobody has told it how often that should be, if the service manager has started it beside its predecessor.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// A server without a service, of whose life the service manager will hear, and whose log level can be changed.
#[must_use]
pub fn server(config: Config) -> Server<()> {
    let Some(manager) = ServiceManager::from_environment() else {
        return Server::new(config).observe(|milestone| {
            take_back_standard_error(&milestone);
            obey(milestone);
        });
    };
    let heartbeat = manager.watchdog_beat(true).map_or(STATUS_EVERY, |beat| beat.min(STATUS_EVERY));
    let mut reporter = Reporter { manager, stands: Stands::default(), told: String::new(), taken_over_by: None };
    Server::new(Config { heartbeat: Some(heartbeat), ..config }).observe(move |milestone| {
        take_back_standard_error(&milestone);
        reporter.hear(milestone);
    })
}

/// A process that serves speaks for itself: until then, its predecessor hears what it says.
fn take_back_standard_error(milestone: &Milestone<'_>) {
    if let Milestone::Ready(_) = milestone
        && Inheritance::from_environment().is_some_and(|inheritance| inheritance.serves())
    {
        reactord_cli::logger::standard_error_is_another();
    }
}

/// Does what a server leaves to its program.
fn obey(milestone: Milestone<'_>) {
    if let Milestone::LogLevel(level) = milestone {
        logger::set_level(level);
    }
}

/// Who tells the service manager.
struct Reporter {
    manager: ServiceManager,
    stands: Stands,
    /// What a person reads by now.
    told: String,
    /// The process that is taking over.
    taken_over_by: Option<u32>,
}

impl Reporter {
    fn hear(&mut self, milestone: Milestone<'_>) {
        match milestone {
            Milestone::Ready(ready) => {
                self.stands.generation = ready.generation;
                self.stands.follows = None;
                // Before the predecessor exits, and it does not before it has heard that this process serves. The time for
                // signs of life began with one of the predecessor's.
                let taken_over = [Word::MainPid(ready.pid), Word::Watchdog];
                self.tell(&[Word::Ready], if self.has_taken_over() { &taken_over } else { &[] });
            }
            Milestone::TakenOver(takeover) => {
                self.stands.peers = takeover.peers;
                self.stands.pause = takeover.pause;
                self.tell_status();
            }
            // It is the active's unit, and how that stands is to be read there.
            Milestone::Follows { .. } if Inheritance::from_environment().is_some_and(|from| from.follows()) => {}
            Milestone::Follows { pid } => {
                // Whoever waits until this process has started has waited long enough.
                self.stands.follows = Some(pid);
                self.tell(&[Word::Ready], &[]);
            }
            Milestone::Survived(survived) => {
                self.stands.peers = survived.served_on;
                self.stands.survived = Some(survived.pid);
                self.tell_status();
            }
            Milestone::TakeoverBegins { pid } => {
                self.taken_over_by = Some(pid);
                self.stands.successor_pid = Some(pid);
                self.tell(&[Word::Reloading], &[]);
            }
            Milestone::TakeoverFailed { pid, why } => {
                self.stands.failure = Some(format!("the takeover by pid {pid} failed: {why}"));
                self.serve_on(pid);
            }
            Milestone::Heartbeat(status) => {
                self.stands.update(status);
                if self.has_taken_over() || self.manager.watchdog_beat(false).is_some() {
                    self.manager.tell(&[Word::Watchdog]);
                }
                self.tell_status();
            }
            Milestone::Stopping => {
                self.stands.is_stopping = true;
                self.tell(&[Word::Stopping], &[]);
            }
            // Of a server that has handed over, the successor says what there is to say.
            _ => obey(milestone),
        }
    }

    /// Whether a service manager has to be told which process this is.
    fn has_taken_over(&self) -> bool {
        self.stands.generation > 1
    }

    /// Somebody does not take over after all: that may be another one than who is about to.
    fn serve_on(&mut self, pid: u32) {
        if self.taken_over_by.take_if(|by| *by == pid).is_some() {
            self.stands.successor_pid = None;
            self.tell(&[Word::Ready], &[]);
        } else {
            self.tell_status();
        }
    }

    fn tell(&mut self, words: &[Word<'_>], further: &[Word<'_>]) {
        self.told = self.stands.to_string();
        self.manager.tell(&[further, words, &[Word::Status(&self.told)]].concat());
    }

    /// Has a person read how the server stands, if that is news.
    fn tell_status(&mut self) {
        let stands = self.stands.to_string();
        if stands != self.told {
            self.manager.tell(&[Word::Status(&stands)]);
            self.told = stands;
        }
    }
}

/// How a server stands, for one line.
#[derive(Debug, Default)]
struct Stands {
    generation: u64,
    peers: u64,
    /// That of the takeover with which it began.
    pause: Option<Duration>,
    successor_pid: Option<u32>,
    /// The server of which this process is the standby.
    follows: Option<u32>,
    /// The server whose death it has survived.
    survived: Option<u32>,
    /// Why the last takeover from it came to nothing.
    failure: Option<String>,
    is_stopping: bool,
}

impl Stands {
    fn update(&mut self, status: &Status) {
        self.peers = status.services.iter().map(|service| service.peers).sum();
        let pause_us = status.takeover.as_ref().and_then(|TakeoverStatus { pause_us, .. }| *pause_us);
        self.pause = pause_us.map(Duration::from_micros);
    }
}

impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, peers, pause, successor_pid, follows, survived, failure, is_stopping } = self;
        if let Some(pid) = follows {
            return write!(f, "Standby of pid {pid}");
        }
        if *is_stopping {
            f.write_str("Stopping: ")?;
        }
        write!(f, "Generation {generation}: {peers} peers")?;
        pause.iter().try_for_each(|pause| write!(f, "; pause {} us", pause.as_micros()))?;
        successor_pid.iter().try_for_each(|pid| write!(f, "; pid {pid} is taking over"))?;
        survived.iter().try_for_each(|pid| write!(f, "; survived the death of pid {pid}"))?;
        failure.iter().try_for_each(|failure| write!(f, "; {failure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_generation_the_peers_the_pause_and_what_went_wrong() {
        let mut stands = Stands { generation: 1, ..Stands::default() };
        assert_eq!(stands.to_string(), "Generation 1: 0 peers");
        stands = Stands { generation: 7, peers: 10_000, pause: Some(Duration::from_micros(35)), ..stands };
        assert_eq!(stands.to_string(), "Generation 7: 10000 peers; pause 35 us");
        stands.successor_pid = Some(77);
        assert_eq!(stands.to_string(), "Generation 7: 10000 peers; pause 35 us; pid 77 is taking over");
        stands.successor_pid = None;
        stands.failure = Some("the takeover by pid 77 failed: it is silent".to_owned());
        assert_eq!(
            stands.to_string(),
            "Generation 7: 10000 peers; pause 35 us; the takeover by pid 77 failed: it is silent"
        );
        stands = Stands { is_stopping: true, ..Stands { generation: 7, ..Stands::default() } };
        assert_eq!(stands.to_string(), "Stopping: Generation 7: 0 peers");
    }
}
