//! How often clients of one address come. Pure: the time comes in. A successor begins to count anew.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Rate;

/// So many addresses are known at once; then those are forgotten whose time is over, and everybody, if these are few: to look through all of
/// them is for many who come.
const ADDRESSES_MAX: usize = 65_536;
const FORGOTTEN_MIN: usize = ADDRESSES_MAX / 4;

/// How many came from each address since when.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<IpAddr, (Instant, u32)>);

impl Rates {
    /// Whether one more may come from this address.
    pub(super) fn admits(&mut self, address: IpAddr, rate: Rate, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= rate.per;
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.0.retain(|_, (since, _)| !is_over(*since));
            if self.0.len() > ADDRESSES_MAX - FORGOTTEN_MIN {
                self.0.clear();
            }
        }
        let (since, count) = self.0.entry(address).or_insert((now, 0));
        if is_over(*since) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= rate.count
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_come_in_each_while_and_one_address_takes_nothing_from_another() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let rate = Rate { count: 2, per: Duration::from_secs(1) };
        let mut admitted = |last: u8, ms| rates.admits([10, 0, 0, last].into(), rate, now + Duration::from_millis(ms));
        assert_eq!([admitted(1, 0), admitted(1, 10), admitted(1, 20), admitted(2, 20)], [true, true, false, true]);
        assert_eq!([admitted(1, 999), admitted(1, 1000)], [false, true]);
    }

    #[test]
    fn addresses_are_forgotten_before_they_are_too_many() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let rate = Rate { count: 1, per: Duration::from_secs(1) };
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 10 {
            assert!(rates.admits(IpAddr::from(number.to_be_bytes()), rate, now));
        }
        assert!(rates.0.len() <= ADDRESSES_MAX);
    }

    #[test]
    fn nobody_is_looked_through_for_the_sake_of_few() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let rate = Rate { count: 1, per: Duration::from_secs(1) };
        let mut come = |numbers: std::ops::Range<usize>, now| {
            for number in numbers {
                rates.admits(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()), rate, now);
            }
            rates.0.len()
        };
        // The time of the first is over when there are too many: that alone would make room for one.
        come(0..1, now);
        assert_eq!(come(1..ADDRESSES_MAX, now + rate.per / 2), ADDRESSES_MAX);
        assert_eq!(come(ADDRESSES_MAX..ADDRESSES_MAX + 1, now + rate.per), 1);
    }
}
