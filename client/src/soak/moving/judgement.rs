//! Whether after a move everybody has what they should. Decisions without I/O.
//!
//! Whoever speaks with a server over TCP cannot tell which process answers. So owners are not taken from what servers
//! say, but from the kernel's tables, before a move and after it (see `census`), and what is said is held against that:
//!
//! - whoever was not part of the move has its owner still;
//! - a peer of the giver is with the giver or with the taker; with the taker are as many as the giver says to have moved;
//! - if one side was killed, nobody has what it owned, and nothing else is missing. A taker that was killed owned as many
//!   more as its giver says it has given, and a giver all that its taker has not got.

use std::collections::{HashMap, HashSet};

use super::super::servers::Place;
use crate::address::Ends;

/// Who has which connection.
pub(crate) type Owners = HashMap<Ends, Place>;

/// How many single connections are told of.
const TOLD_MAX: usize = 3;

/// How many have moved, as is said by whoever is alive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Said {
    Exactly(u64),
    /// A taker does not tell of every batch.
    AtLeast(u64),
    /// Among them may be passing connections, of which it is not known who has them.
    AtMost(u64),
}

impl Said {
    fn is_true_of(self, moved: u64) -> bool {
        match self {
            Self::Exactly(said) => moved == said,
            Self::AtLeast(said) => moved >= said,
            Self::AtMost(said) => moved <= said,
        }
    }
}

/// A move, or what was begun as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'a> {
    pub(crate) before: &'a Owners,
    pub(crate) after: &'a Owners,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// Who was to move, if it was said by name.
    pub(crate) named: Option<&'a HashSet<Ends>>,
    pub(crate) said: Said,
    pub(crate) killed: Option<Place>,
}

/// What is found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Judgement {
    /// What should not be.
    pub(crate) complaints: Vec<String>,
    /// Who has gone with the process that was killed.
    pub(crate) gone: HashSet<Ends>,
    /// How many have another owner, or had one that was killed.
    pub(crate) moved: u64,
}

impl Case<'_> {
    pub(crate) fn judge(self) -> Judgement {
        let Self { before, after, from, to, named, said, killed } = self;
        let mut judgement = Judgement::default();
        let mut elsewhere = Vec::new();
        for (ends, owner) in before {
            let may_move = *owner == from && named.is_none_or(|named| named.contains(ends));
            match after.get(ends) {
                Some(now) if now == owner => {}
                Some(now) if may_move && *now == to => judgement.moved += 1,
                None if killed == Some(*owner) => drop(judgement.gone.insert(*ends)),
                None if may_move && killed == Some(to) => {
                    judgement.gone.insert(*ends);
                    judgement.moved += 1;
                }
                now => elsewhere.push((*ends, *owner, now.copied())),
            }
        }
        elsewhere.sort_unstable();
        judgement.complaints = elsewhere.iter().take(TOLD_MAX).map(|elsewhere| complaint(*elsewhere)).collect();
        if elsewhere.len() > TOLD_MAX {
            judgement.complaints.push(format!("the same of {} more connections", elsewhere.len() - TOLD_MAX));
        }
        if !said.is_true_of(judgement.moved) {
            let moved = judgement.moved;
            judgement
                .complaints
                .push(format!("peers are said to have moved: {said:?}, and {moved} have another owner"));
        }
        judgement
    }
}

fn complaint((ends, before, after): (Ends, Place, Option<Place>)) -> String {
    let Ends { client, server } = ends;
    let now = after.map_or("nobody's".to_owned(), |place| format!("of server {place}"));
    format!("{client} to {server} was of server {before} and is {now}")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn ends(port: u16) -> Ends {
        let [client, server] = [port, 1234].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        Ends { client, server }
    }

    fn owners(owners: &[(u16, Place)]) -> Owners {
        owners.iter().map(|(port, place)| (ends(*port), *place)).collect()
    }

    fn all_ends(ports: &[u16]) -> HashSet<Ends> {
        ports.iter().map(|port| ends(*port)).collect()
    }

    /// From server 0, with peers 1 to 4, to server 1, with peer 5; peer 6 is of server 2.
    fn judge(after: &[(u16, Place)], said: u64, killed: Option<Place>, named: Option<&[u16]>) -> Judgement {
        let before = owners(&[(1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (6, 2)]);
        let (after, named) = (owners(after), named.map(all_ends));
        Case {
            before: &before,
            after: &after,
            from: 0,
            to: 1,
            named: named.as_ref(),
            said: Said::Exactly(said),
            killed,
        }
        .judge()
    }

    #[test]
    fn whoever_has_moved_is_counted() {
        let judgement = judge(&[(1, 1), (2, 1), (3, 0), (4, 0), (5, 1), (6, 2)], 2, None, None);
        assert_eq!(judgement, Judgement { moved: 2, ..Judgement::default() });
    }

    #[test]
    fn another_number_than_was_said_is_a_complaint() {
        let judgement = judge(&[(1, 1), (2, 1), (3, 0), (4, 0), (5, 1), (6, 2)], 3, None, None);
        assert_eq!(judgement.complaints, ["peers are said to have moved: Exactly(3), and 2 have another owner"]);
    }

    #[test]
    fn what_is_not_said_exactly_is_a_bound() {
        for (said, truth) in [(Said::AtLeast(2), [false, true, true]), (Said::AtMost(2), [true, true, false])] {
            assert_eq!([1, 2, 3].map(|moved| said.is_true_of(moved)), truth);
        }
    }

    #[test]
    fn a_giver_that_was_killed_takes_with_it_what_it_has_not_given() {
        let judgement = judge(&[(1, 1), (5, 1), (6, 2)], 1, Some(0), None);
        assert_eq!(judgement, Judgement { moved: 1, gone: all_ends(&[2, 3, 4]), ..Judgement::default() });
    }

    #[test]
    fn a_taker_that_was_killed_takes_with_it_what_it_was_given_and_had() {
        let judgement = judge(&[(2, 0), (3, 0), (4, 0), (6, 2)], 1, Some(1), None);
        assert_eq!(judgement, Judgement { moved: 1, gone: all_ends(&[1, 5]), ..Judgement::default() });
    }

    #[test]
    fn a_taker_that_takes_with_it_more_than_it_was_given_is_a_complaint() {
        let judgement = judge(&[(3, 0), (4, 0), (6, 2)], 1, Some(1), None);
        assert_eq!(judgement.complaints, ["peers are said to have moved: Exactly(1), and 2 have another owner"]);
    }

    #[test]
    fn whoever_was_not_to_move_and_has_or_is_nobodys_is_a_complaint() {
        let judgement = judge(&[(1, 1), (2, 1), (3, 2), (4, 0), (5, 1)], 1, None, Some(&[1]));
        let expected = [
            "127.0.0.1:2 to 127.0.0.1:1234 was of server 0 and is of server 1",
            "127.0.0.1:3 to 127.0.0.1:1234 was of server 0 and is of server 2",
            "127.0.0.1:6 to 127.0.0.1:1234 was of server 2 and is nobody's",
        ];
        assert_eq!(judgement.complaints, expected);
    }
}
