//! How often clients of one address come. Pure: the time comes in. A successor begins to count anew.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use crate::config::Rate;

/// So many addresses are known at once; then those are forgotten whose time is over, and after that everybody.
const ADDRESSES_MAX: usize = 65_536;

/// How many came from each address since when.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<IpAddr, (Instant, u32)>);

impl Rates {
    /// Whether one more may come from this address.
    pub(super) fn admits(&mut self, address: IpAddr, rate: Rate, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= rate.per;
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&address) {
            self.0.retain(|_, (since, _)| !is_over(*since));
            if self.0.len() >= ADDRESSES_MAX {
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
}
