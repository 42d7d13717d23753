//! What the processes of a soak use: again and again while the load lasts, and at both ends of the chain.

use std::time::{Duration, Instant};

use super::chain::{Chain, End};
use super::outcome::Sample;
use super::servers::Servers;
use super::succession::Number;

/// How often the processes are looked at, and how often while a takeover is under way.
const SAMPLE: Duration = Duration::from_millis(100);
const SAMPLE_DURING_TAKEOVER: Duration = Duration::from_millis(3);

/// How long the server may take to see that connections are gone, and how often it is looked at meanwhile.
const LEAVING_PATIENCE: Duration = Duration::from_secs(2);
const LEAVING_LOOK: Duration = Duration::from_millis(10);

/// What was seen of the processes.
pub(crate) struct Watch {
    /// When the load began.
    start: Instant,
    /// When they are looked at next.
    pub(crate) due: Instant,
    /// The first process, before there were any connections, with the memory that it had with all of them.
    first: Option<End>,
    pub(crate) samples: Vec<Sample>,
}

impl Watch {
    /// A watch over a load that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { start: now, due: now, first: None, samples: Vec::new() }
    }

    /// The load begins only now.
    pub(crate) fn begin(&mut self, now: Instant) {
        (self.start, self.due) = (now, now);
    }

    /// What the first process has open before there are any connections.
    pub(crate) fn look_at_first(&mut self, servers: &Servers, first: Number) {
        self.look_at_first_with(servers, first, 0);
    }

    /// The same where there are so many connections.
    pub(crate) fn look_at_first_with(&mut self, servers: &Servers, first: Number, open: usize) {
        self.first = servers.usage(first).map(|usage| End::new(servers.pid(first), usage, open));
    }

    /// How much memory the first process has, with all its connections and before its first takeover.
    pub(crate) fn weigh_first(&mut self, servers: &Servers, first: Number) {
        if let (Some(end), Some(usage)) = (&mut self.first, servers.usage(first)) {
            end.resident_bytes = usage.resident_bytes;
        }
    }

    /// Compares the last process of the chain with the first. Those connections that have just left may still be on
    /// their way. `None` if one of the two cannot be looked at.
    pub(crate) fn look_at_last(
        &self,
        servers: &Servers,
        last: Number,
        open: usize,
        slow_readers: usize,
    ) -> Option<Chain> {
        let first = self.first?;
        let deadline = Instant::now() + LEAVING_PATIENCE;
        loop {
            let last = End::new(servers.pid(last), servers.usage(last)?, open);
            if last.other_files == first.other_files || Instant::now() >= deadline {
                let (started, left) = (servers.started(), servers.running().count());
                return Some(Chain { first, last, slow_readers, started, left });
            }
            std::thread::sleep(LEAVING_LOOK);
        }
    }

    /// Looks at these processes.
    pub(crate) fn sample(&mut self, servers: &Servers, processes: impl IntoIterator<Item = Number>, now: Instant) {
        for process in processes {
            if let Some(usage) = servers.usage(process) {
                self.samples.push(Sample { at: now - self.start, pid: servers.pid(process), process, usage });
            }
        }
    }

    /// The processes are looked at again a little later, and rather soon if a takeover is under way.
    pub(crate) fn wait(&mut self, now: Instant, takeover_under_way: bool) {
        self.due = now + if takeover_under_way { SAMPLE_DURING_TAKEOVER } else { SAMPLE };
    }
}
