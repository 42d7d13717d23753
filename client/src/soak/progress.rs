//! What is to be seen while a soak runs: one live line on a terminal, a line now and then where there is none.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::info;

use crate::timeline::Recent;

/// How often the live line changes, and how often a plain one is written.
const LIVE: Duration = Duration::from_millis(250);
const PLAIN: Duration = Duration::from_secs(5);

/// Over which time the figures are.
const SECOND: Duration = Duration::from_secs(1);

/// What a line says, besides round trips.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    pub(crate) connections: usize,
    pub(crate) takeovers_done: usize,
    pub(crate) takeovers: usize,
    pub(crate) moves_done: usize,
    pub(crate) moves: usize,
    pub(crate) deaths_done: usize,
    pub(crate) deaths: usize,
}

/// What round trips were like over about a second.
#[derive(Clone, Copy, Debug)]
struct Second {
    messages_per_second: f64,
    worst_ns: u64,
}

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    /// When the load began.
    start: Instant,
    /// When the next line is.
    pub(crate) due: Instant,
    /// When the second began that is not over, and what the last one was like that is.
    second_begun: Instant,
    second: Option<Second>,
}

impl Progress {
    pub(crate) fn new(length: Duration, now: Instant) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {msg}").expect("the template is constant");
            let length_ms = length.as_millis() as u64;
            ProgressBar::with_draw_target(Some(length_ms), ProgressDrawTarget::stderr()).with_style(style)
        });
        Self { bar, start: now, due: now, second_begun: now, second: None }
    }

    /// The load begins only now.
    pub(crate) fn begin(&mut self, now: Instant) {
        (self.start, self.due, self.second_begun) = (now, now + self.interval(), now);
    }

    /// How long it is from one line to the next.
    fn interval(&self) -> Duration {
        if self.bar.is_some() { LIVE } else { PLAIN }
    }

    /// Writes a line, with the round trips since the last call of `recent`, if that was a second ago.
    pub(crate) fn show(&mut self, now: Instant, state: State, recent: impl FnOnce() -> Recent) {
        self.due = now + self.interval();
        let lasted = now - self.second_begun;
        if lasted >= SECOND {
            let Recent { answers, worst_ns } = recent();
            self.second = Some(Second { messages_per_second: answers as f64 / lasted.as_secs_f64(), worst_ns });
            self.second_begun = now;
        }
        self.write(now - self.start, state);
    }

    fn write(&self, elapsed: Duration, state: State) {
        let State { connections, takeovers_done, takeovers, moves_done, moves, deaths_done, deaths } = state;
        let mut line = format!("{:.0} s  {connections} connections", elapsed.as_secs_f64());
        if let Some(Second { messages_per_second, worst_ns }) = self.second {
            let worst_ms = worst_ns as f64 / 1e6;
            line.push_str(&format!("  {messages_per_second:.0} messages/s  worst {worst_ms:.1} ms"));
        }
        for (what, done, wanted) in
            [("takeovers", takeovers_done, takeovers), ("moves", moves_done, moves), ("deaths", deaths_done, deaths)]
        {
            if wanted > 0 {
                line.push_str(&format!("  {what} {done}/{wanted}"));
            }
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_millis() as u64);
                bar.set_message(line);
            }
            None => info!("{line}"),
        }
    }

    /// Writes a line that stays.
    pub(crate) fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| info!("{line}")),
            None => info!("{line}"),
        }
    }

    /// Takes the live line away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
