//! How a server stands: whether it gets clients, why not, and what it has done. Pure: what has happened and what time it is
//! come in. It is what a successor knows of a server, by the server's name.

use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use reactord::{RestoreError, Save};

use crate::config::{Check, Eject, Upstream};

/// How a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Standing {
    /// An operator has asked for it to get no more clients.
    #[n(0)]
    pub is_drained: bool,
    /// It has failed its checks.
    #[n(1)]
    pub is_down: bool,
    /// So many checks in a row have said that it is otherwise.
    #[n(2)]
    pub against: u32,
    /// So many clients in a row could not be connected to it, at none of its addresses.
    #[n(3)]
    pub failures: u32,
    /// Until then it gets no clients, since those have failed: ms since 1970.
    #[n(4)]
    pub ejected_until_ms: u64,
    /// What it has done since it was first known.
    #[n(5)]
    pub figures: Figures,
    /// The addresses that its name had last, if it has one.
    #[n(6)]
    pub addresses: Vec<SocketAddr>,
    /// Why the last check or connection has failed, if the last one has.
    #[n(7)]
    pub last_failure: Option<String>,
}

/// What a server has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Figures {
    /// Connections that were opened to it for clients.
    #[n(0)]
    pub connections: u64,
    /// Connections that could not be opened.
    #[n(1)]
    pub failures: u64,
    /// Checks that it has failed.
    #[n(2)]
    pub failed_checks: u64,
    /// How often it was found down.
    #[n(3)]
    pub downs: u64,
    /// How often it was ejected.
    #[n(4)]
    pub ejections: u64,
    /// Bytes that have come from it, of connections that have ended.
    #[n(5)]
    pub received_bytes: u64,
    /// Bytes that it has acknowledged, of connections that have ended.
    #[n(6)]
    pub sent_bytes: u64,
    /// How long it took to open those connections, all together.
    #[n(7)]
    pub connect_ms: u64,
}

/// What a check has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// The server is up.
    Up,
    /// It is down.
    Down,
}

impl Eject {
    /// When one that begins now ends: ms since 1970.
    fn until_ms(self, now_ms: u64) -> u64 {
        now_ms.saturating_add(u64::try_from(self.period.as_millis()).unwrap_or(u64::MAX))
    }
}

impl Standing {
    /// Why it gets no clients now, if it does not.
    #[must_use]
    pub fn why_not(&self, now_ms: u64) -> Option<&'static str> {
        if self.is_drained {
            Some("drained")
        } else if self.is_down {
            Some("down")
        } else if now_ms < self.ejected_until_ms {
            Some("ejected")
        } else {
            None
        }
    }

    /// A check has ended. Says whether it has changed what is known.
    pub fn checked(&mut self, result: Result<(), &str>, check: &Check) -> Option<Turned> {
        let passed = result.is_ok();
        self.last_failure = result.err().map(str::to_owned);
        self.figures.failed_checks += u64::from(!passed);
        if passed != self.is_down {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = if self.is_down { check.rise } else { check.fall };
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.is_down = !self.is_down;
        self.figures.downs += u64::from(self.is_down);
        Some(if self.is_down { Turned::Down } else { Turned::Up })
    }

    /// A connection for a client stands.
    pub fn connected(&mut self, connect_ms: u32) {
        (self.failures, self.last_failure) = (0, None);
        self.figures.connections += 1;
        self.figures.connect_ms += u64::from(connect_ms);
    }

    /// A connection for a client could not be opened. Says whether the server is ejected by that, where it is to be: if there is an address
    /// at which the client was not led to it in vain, it is not.
    pub fn failed(&mut self, why: String, eject: Option<Eject>, now_ms: u64) -> bool {
        self.last_failure = Some(why);
        self.figures.failures += 1;
        let Some(eject) = eject else { return false };
        self.failures = self.failures.saturating_add(1);
        if self.failures < eject.failures {
            return false;
        }
        self.failures = 0;
        self.ejected_until_ms = eject.until_ms(now_ms);
        self.figures.ejections += 1;
        true
    }

    /// An operator wants it to get clients, whatever has been found.
    pub fn enable(&mut self) {
        (self.is_drained, self.failures, self.ejected_until_ms) = (false, 0, 0);
    }

    /// Forgets what the file does not ask for any more. An ejection does not last longer than it says, also where the time of the day was
    /// set back since it began.
    pub fn follow(&mut self, upstream: &Upstream, now_ms: u64) {
        if upstream.check.is_none() {
            (self.is_down, self.against) = (false, 0);
        }
        match upstream.eject {
            None => (self.failures, self.ejected_until_ms) = (0, 0),
            Some(eject) => self.ejected_until_ms = self.ejected_until_ms.min(eject.until_ms(now_ms)),
        }
    }
}

impl Save for Standing {
    fn save(&self, record: &mut Vec<u8>) {
        minicbor::encode(self, record).expect("a vector takes everything");
    }

    fn restore(_: u32, record: &[u8]) -> Result<Self, RestoreError> {
        minicbor::decode(record).map_err(|error| RestoreError::new(format!("a server's standing: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CHECK: Check = Check {
        every: Duration::from_secs(2),
        within: Duration::from_secs(1),
        rise: 2,
        fall: 3,
        send: None,
        expect: None,
    };

    fn checked(standing: &mut Standing, results: &[bool]) -> Vec<Option<Turned>> {
        let result = |passed: &bool| if *passed { Ok(()) } else { Err("it is down") };
        results.iter().map(|passed| standing.checked(result(passed), &CHECK)).collect()
    }

    #[test]
    fn a_server_is_down_after_as_many_failures_in_a_row_and_up_after_as_many_successes() {
        let mut standing = Standing::default();
        assert_eq!(checked(&mut standing, &[false, false, true, false, false]), [None; 5]);
        assert_eq!(checked(&mut standing, &[false]), [Some(Turned::Down)]);
        assert_eq!(standing.why_not(0), Some("down"));
        assert_eq!(checked(&mut standing, &[true, false, true, true]), [None, None, None, Some(Turned::Up)]);
        assert_eq!((standing.why_not(0), standing.figures.failed_checks, standing.figures.downs), (None, 6, 1));
    }

    #[test]
    fn a_server_is_ejected_for_a_while_when_connections_to_it_fail_one_after_the_other() {
        let eject = Some(Eject { failures: 2, period: Duration::from_secs(30) });
        let mut standing = Standing::default();
        let why = || "refused".to_owned();
        assert!(!standing.failed(why(), eject, 1000));
        assert_eq!(standing.last_failure, Some(why()));
        standing.connected(1);
        assert_eq!(standing.last_failure, None);
        assert!(!standing.failed(why(), eject, 1000) && standing.failed(why(), eject, 2000));
        assert_eq!((standing.why_not(31_999), standing.why_not(32_000)), (Some("ejected"), None));
        assert!(!standing.failed(why(), None, 40_000));
        // At another of its addresses it was not tried.
        assert!(!standing.failed(why(), eject, 40_000) && !standing.failed(why(), None, 40_000));
        assert!(standing.failed(why(), eject, 40_000));
        standing.ejected_until_ms = 90_000;
        standing.enable();
        assert_eq!(standing.why_not(40_000), None);
    }

    #[test]
    fn an_ejection_is_no_longer_than_the_file_says_also_where_the_time_was_set_back() {
        let config = crate::config::Config::simple("127.0.0.1:1", "127.0.0.1:2").expect("it is right");
        let eject = Eject { failures: 1, period: Duration::from_secs(30) };
        let upstream = Upstream { eject: Some(eject), ..config.upstreams[0].clone() };
        let mut standing = Standing::default();
        assert!(standing.failed("refused".to_owned(), Some(eject), 4_000_000));
        standing.follow(&upstream, 4_000_000);
        assert_eq!(standing.ejected_until_ms, 4_030_000);
        standing.follow(&upstream, 1_000);
        assert_eq!(standing.ejected_until_ms, 31_000);
        standing.follow(&Upstream { eject: None, ..upstream }, 1_000);
        assert_eq!(standing.ejected_until_ms, 0);
    }

    #[test]
    fn what_is_saved_is_restored() {
        let mut standing = Standing { is_drained: true, ..Standing::default() };
        checked(&mut standing, &[false, false, false, true]);
        let mut record = Vec::new();
        standing.save(&mut record);
        assert_eq!(Standing::restore(1, &record), Ok(standing));
        assert!(Standing::restore(1, b"what").is_err());
    }
}
