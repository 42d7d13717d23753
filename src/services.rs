//! The services of the daemon `reactord`, for programs that want them beside their own.

#[cfg(feature = "fault-points")]
mod counted;
mod line;
mod metrics;
#[cfg(feature = "fault-points")]
mod published;
#[cfg(feature = "fault-points")]
mod relayed;
mod seqnum;

#[cfg(feature = "fault-points")]
pub use counted::Counted;
pub use line::Line;
pub use metrics::Metrics;
#[cfg(feature = "fault-points")]
pub use published::Published;
#[cfg(feature = "fault-points")]
pub use relayed::Relayed;
pub use seqnum::Seqnum;

#[cfg(test)]
mod tests;
