//! The services of the daemon `reactord`, for programs that want them beside their own.

#[cfg(feature = "fault-points")]
mod counted;
mod line;
mod seqnum;

#[cfg(feature = "fault-points")]
pub use counted::Counted;
pub use line::Line;
pub use seqnum::Seqnum;

#[cfg(test)]
mod tests;
