//! What came of storms.

use std::fmt;
use std::ops::AddAssign;

use crate::load::Heard;

/// What there is most of in a schedule.
pub(crate) const LOADS: [&str; 7] =
    ["of all kinds", "echo", "fragments", "full outputs", "published", "pairs", "who came and went"];

/// What came of a schedule.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Kills of the active, at any moment, and at fault points.
    pub(crate) at_random: u64,
    pub(crate) injected: u64,
    /// Kills of either side while a takeover was under way: of a predecessor at any moment or at a fault point, and of a successor.
    pub(crate) of_predecessor: u64,
    pub(crate) of_successor: u64,
    /// Kills of the standby.
    pub(crate) of_standby: u64,
    /// How often a standby has served on, and somebody has taken over.
    pub(crate) survived: u64,
    pub(crate) takeovers: u64,
    /// How often all connections were lost with the owner, since nobody could serve on.
    pub(crate) lost: u64,
    /// Kills by what there was most of.
    pub(crate) by_load: [u64; LOADS.len()],
    pub(crate) connections_max: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Clients that came and went, and those of them that had only just come, and are lost by a death.
    pub(crate) came: u64,
    pub(crate) came_and_lost: u64,
}

impl Tally {
    pub(crate) fn kills(&self) -> u64 {
        self.at_random + self.injected + self.of_predecessor + self.of_successor + self.of_standby
    }

    pub(crate) fn hear(&mut self, heard: Heard) {
        self.messages += heard.messages;
        self.bytes += heard.bytes;
        self.came += heard.passing.came;
        self.came_and_lost += heard.passing.lost;
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.at_random += other.at_random;
        self.injected += other.injected;
        self.of_predecessor += other.of_predecessor;
        self.of_successor += other.of_successor;
        self.of_standby += other.of_standby;
        self.survived += other.survived;
        self.takeovers += other.takeovers;
        self.lost += other.lost;
        self.by_load.iter_mut().zip(other.by_load).for_each(|(sum, more)| *sum += more);
        self.connections_max = self.connections_max.max(other.connections_max);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.came += other.came;
        self.came_and_lost += other.came_and_lost;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_random, injected, of_predecessor, of_successor, of_standby, .. } = self;
        let Self { survived, takeovers, lost, connections_max, messages, bytes, came, came_and_lost, .. } = self;
        write!(
            f,
            "{} kills: {at_random} of the active at any moment, {injected} of it at fault points, {} while somebody took over \
             ({of_predecessor} of the predecessor, {of_successor} of the successor), {of_standby} of the standby; ",
            self.kills(),
            of_predecessor + of_successor,
        )?;
        let by_load: Vec<String> =
            LOADS.iter().zip(self.by_load).map(|(load, kills)| format!("{kills} {load}")).collect();
        write!(
            f,
            "{}; up to {connections_max} peers; {survived} deaths survived, {takeovers} takeovers; {messages} messages, \
             {bytes} bytes, each as expected; 0 reset that had been answered, and {came_and_lost} of {came} that came and went \
             before they were; {lost} times all were lost with an owner whom nobody followed yet",
            by_load.join(", "),
        )
    }
}
