//! A want of room in the kernel: when it has lasted so long that an operator is to hear of it. Pure.

use std::time::{Duration, Instant};

/// So long a want of room is nobody's business: what is on its way to busy processes arrives within this time.
const UNREMARKABLE: Duration = Duration::from_secs(2);

/// Whether something could not be sent, since when, and whether that was said.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    since: Option<Instant>,
    is_said: bool,
}

impl Shortage {
    /// Something could not be sent. Says for how long that has been so, once, when it is too long.
    pub(crate) fn felt(&mut self, now: Instant) -> Option<Duration> {
        let lasted = now - *self.since.get_or_insert(now);
        let is_news = lasted >= UNREMARKABLE && !self.is_said;
        self.is_said |= is_news;
        is_news.then_some(lasted)
    }

    /// Something could be sent. Says for how long it could not, if it was said that it could not.
    pub(crate) fn over(&mut self, now: Instant) -> Option<Duration> {
        let Self { since, is_said } = std::mem::take(self);
        since.filter(|_| is_said).map(|since| now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_want_of_room_is_not_told() {
        let (mut shortage, now) = (Shortage::default(), Instant::now());
        assert_eq!(shortage.felt(now), None);
        assert_eq!(shortage.felt(now + UNREMARKABLE / 2), None);
        assert_eq!(shortage.over(now + UNREMARKABLE / 2), None);
        assert_eq!(shortage.felt(now + UNREMARKABLE), None, "it is another one");
    }

    #[test]
    fn a_long_one_is_told_once_and_so_is_its_end() {
        let (mut shortage, now) = (Shortage::default(), Instant::now());
        assert_eq!(shortage.felt(now), None);
        assert_eq!(shortage.felt(now + UNREMARKABLE), Some(UNREMARKABLE));
        assert_eq!(shortage.felt(now + 2 * UNREMARKABLE), None);
        assert_eq!(shortage.over(now + 3 * UNREMARKABLE), Some(3 * UNREMARKABLE));
        assert_eq!(shortage.over(now + 4 * UNREMARKABLE), None);
    }
}
