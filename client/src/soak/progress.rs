//! What is to be seen while a soak runs: one live line on a terminal, a line now and then where there is none.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::info;

/// How often the live line changes, and how often a plain one is written.
const LIVE: Duration = Duration::from_millis(250);
const PLAIN: Duration = Duration::from_secs(5);

/// Over which time the figures are.
const SECOND: Duration = Duration::from_secs(1);

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) elapsed: Duration,
    pub(crate) connections: usize,
    /// Messages a second, and the worst round trip in ns, of the last second. `None` before it is over.
    pub(crate) recent: Option<(f64, u64)>,
    pub(crate) takeovers_done: usize,
    pub(crate) takeovers: usize,
}

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(length: Duration) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:24} {msg}").expect("the template is constant");
            let length_ms = length.as_millis() as u64;
            ProgressBar::with_draw_target(Some(length_ms), ProgressDrawTarget::stderr()).with_style(style)
        });
        Self { bar }
    }

    /// How long it is from one line to the next.
    pub(crate) fn interval(&self) -> Duration {
        if self.bar.is_some() { LIVE } else { PLAIN }
    }

    /// How often the figures are looked at.
    pub(crate) fn window(&self) -> Duration {
        SECOND
    }

    pub(crate) fn show(&self, state: State) {
        let State { elapsed, connections, recent, takeovers_done, takeovers } = state;
        let mut line = format!("{:.0} s  {connections} connections", elapsed.as_secs_f64());
        if let Some((messages_per_second, worst_ns)) = recent {
            let worst_ms = worst_ns as f64 / 1e6;
            line.push_str(&format!("  {messages_per_second:.0} messages/s  worst {worst_ms:.1} ms"));
        }
        if takeovers > 0 {
            line.push_str(&format!("  takeovers {takeovers_done}/{takeovers}"));
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
