//! How long a connection is kept that the server is ending: a value that is told what can be seen, and says what to do.
//! It does no I/O and reads no clock.
//!
//! What is pending is written first. Then the output is ended, and what the client still sends is thrown away, until all
//! is acknowledged and the client has ended too, or has had [its time](Patience::linger) for that. Whoever makes progress
//! is never given up, however slow; progress is that bytes were written, or that the client's kernel has acknowledged
//! some.
//!
//! A client that reads slowly can show it late: its kernel makes room known when an MSS and a sixteenth of its buffer are
//! free, and until then it looks like one that does not read at all. But it answers probes, and so shows that it lives.
//! Hence there are two limits: one for a client of which [nothing is heard](Patience::silence), and a
//! [longer one](Patience::shut_window) for one that goes on saying that it has no room.
//!
//! All instants are nanoseconds of `CLOCK_MONOTONIC`, which every process of a machine reads alike. So a parting is saved
//! as it is, and nothing begins anew when another process goes on with it.

use std::time::Duration;

use super::delivery::Delivery;

/// How long whom is waited for, and how often it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Without progress, and without an answer that there is no room.
    pub(crate) silence: Duration,
    /// Without progress, whatever the client's kernel answers.
    pub(crate) shut_window: Duration,
    /// For a client that has acknowledged everything and does not end.
    pub(crate) linger: Duration,
    /// The first look after the parting began; then after as long again, and so on.
    pub(crate) look_first: Duration,
    pub(crate) look_max: Duration,
}

/// A client that reads all the time may be so slow that its kernel has a window shut for so many times the close timeout.
/// At the default, that is a sixteenth of the largest buffer (`tcp_rmem`, tcp(7)) at 1,300 bytes a second.
const SHUT_WINDOW_FACTOR: u32 = 10;

/// Nobody is given up sooner: a round trip around the world takes so long, and Linux sends nothing again before 200 ms.
const SILENCE_MIN: Duration = Duration::from_millis(300);

impl Patience {
    pub(crate) fn new(close_timeout: Duration) -> Self {
        let silence = close_timeout.max(SILENCE_MIN);
        Self {
            silence,
            shut_window: silence.saturating_mul(SHUT_WINDOW_FACTOR),
            linger: Duration::from_secs(2),
            look_first: Duration::from_millis(100),
            look_max: Duration::from_secs(1),
        }
    }
}

/// What is left of a connection's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// So many bytes are not written yet.
    Pending { bytes: usize },
    /// All is written, and the writing side is shut.
    Ended,
}

/// What can be seen of a connection now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) output: Output,
    pub(crate) delivery: Delivery,
    /// The client has sent all it will send.
    pub(crate) client_ended: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Look again after so long, or when something happens.
    Wait(Duration),
    /// Shut the writing side, and look again.
    EndOutput,
    /// Close it: nothing is lost by that.
    Over,
    /// Close it, although not all is delivered.
    GiveUp(GivenUp),
}

/// Why a connection is closed although not all is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// Nothing was heard of the client for so long.
    Silence { lasted: Duration, limit: Duration },
    /// The client had no room for so long.
    ShutWindow { lasted: Duration, limit: Duration },
}

impl std::fmt::Display for GivenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (what, lasted, limit) = match self {
            Self::Silence { lasted, limit } => ("acknowledged nothing", lasted, limit),
            Self::ShutWindow { lasted, limit } => ("had no room", lasted, limit),
        };
        write!(f, "it has {what} for {} ms, {} are allowed", lasted.as_millis(), limit.as_millis())
    }
}

/// A connection that the server is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    pub(crate) began_ns: u64,
    /// When progress was last seen.
    pub(crate) progress_ns: u64,
    /// When there last was progress or the answer that there is no room.
    pub(crate) heard_ns: u64,
    /// What was acknowledged, and what was pending, at the last look.
    pub(crate) acknowledged_bytes: u64,
    pub(crate) pending_bytes: u64,
    /// Since when it is seen that everything is acknowledged, the end of the output too.
    pub(crate) delivered_ns: Option<u64>,
}

impl Parting {
    /// The server ends a connection.
    pub(crate) fn begin(now_ns: u64, sight: &Sight) -> Self {
        Self {
            began_ns: now_ns,
            progress_ns: now_ns,
            heard_ns: now_ns,
            acknowledged_bytes: sight.delivery.acknowledged_bytes,
            pending_bytes: sight.output.bytes(),
            delivered_ns: None,
        }
    }

    /// Says what to do about the connection that looks like `sight`.
    pub(crate) fn look(&mut self, now_ns: u64, sight: &Sight, patience: &Patience) -> Step {
        self.note(now_ns, sight);
        match (sight.output, self.delivered_ns) {
            (Output::Pending { bytes: 0 }, _) => Step::EndOutput,
            (Output::Ended, Some(_)) if sight.client_ended => Step::Over,
            (Output::Ended, Some(delivered_ns)) => match left(delivered_ns, now_ns, patience.linger) {
                Some(left) => Step::Wait(left),
                None => Step::Over,
            },
            _ => self.wait_for_progress(now_ns, patience),
        }
    }

    fn note(&mut self, now_ns: u64, sight: &Sight) {
        self.be_no_later_than(now_ns);
        let pending_bytes = sight.output.bytes();
        let acknowledged_bytes = sight.delivery.acknowledged_bytes;
        if pending_bytes < self.pending_bytes || acknowledged_bytes > self.acknowledged_bytes {
            self.progress_ns = now_ns;
            self.heard_ns = now_ns;
        }
        if sight.delivery.window_shut {
            self.heard_ns = now_ns;
        }
        self.pending_bytes = pending_bytes;
        self.acknowledged_bytes = self.acknowledged_bytes.max(acknowledged_bytes);
        if sight.output == Output::Ended && sight.delivery.complete {
            self.delivered_ns.get_or_insert(now_ns);
        }
    }

    /// In another time namespace (time_namespaces(7)) the clock may be behind the one by which this was saved. Then it
    /// begins anew rather than never to end.
    fn be_no_later_than(&mut self, now_ns: u64) {
        self.began_ns = self.began_ns.min(now_ns);
        self.progress_ns = self.progress_ns.min(now_ns);
        self.heard_ns = self.heard_ns.min(now_ns);
        self.delivered_ns = self.delivered_ns.map(|delivered_ns| delivered_ns.min(now_ns));
    }

    fn wait_for_progress(&self, now_ns: u64, patience: &Patience) -> Step {
        let Patience { silence, shut_window, .. } = *patience;
        let Some(silence_left) = left(self.heard_ns, now_ns, silence) else {
            let lasted = since(self.heard_ns, now_ns);
            return Step::GiveUp(GivenUp::Silence { lasted, limit: silence });
        };
        let Some(shut_left) = left(self.progress_ns, now_ns, shut_window) else {
            let lasted = since(self.progress_ns, now_ns);
            return Step::GiveUp(GivenUp::ShutWindow { lasted, limit: shut_window });
        };
        Step::Wait(self.next_look(now_ns, patience).min(silence_left).min(shut_left))
    }

    /// As long as it has lasted: that doubles from look to look.
    fn next_look(&self, now_ns: u64, patience: &Patience) -> Duration {
        since(self.began_ns, now_ns).clamp(patience.look_first, patience.look_max)
    }
}

impl Output {
    fn bytes(self) -> u64 {
        match self {
            Self::Pending { bytes } => bytes as u64,
            Self::Ended => 0,
        }
    }
}

fn since(then_ns: u64, now_ns: u64) -> Duration {
    Duration::from_nanos(now_ns.saturating_sub(then_ns))
}

/// What is left of `limit`, unless it is over.
fn left(since_ns: u64, now_ns: u64, limit: Duration) -> Option<Duration> {
    limit.checked_sub(since(since_ns, now_ns)).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests;
