//! The services of the daemon `reactord`, for programs that want them beside their own.

mod line;
mod seqnum;

pub use line::Line;
pub use seqnum::Seqnum;

#[cfg(test)]
mod tests;
