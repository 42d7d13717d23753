//! Which server gets the next client. Pure: it knows numbers and loads, and nothing of connections.

use std::cmp::Ordering;

use crate::config::Balance;

/// The servers of an upstream as they are when somebody has to be led to one of them.
pub trait Field {
    /// How many there are; they have numbers from 0 on.
    fn servers(&self) -> usize;

    /// Whether the server with this number may get the next client.
    fn is_open(&self, number: usize) -> bool;

    /// How many clients it has.
    fn load(&self, number: usize) -> u32;

    /// Its share beside those of the others: above 0 where it is open.
    fn weight(&self, number: usize) -> u32;

    /// The one that a hash of the client's address leads to, if that one is open, or else another open one that it leads to.
    fn by_source(&self) -> Option<usize>;
}

/// What goes on from one choice to the next.
#[derive(Debug, Default)]
pub struct Turns {
    /// Of those that are as good, who comes first.
    next: usize,
    /// How much each server is owed, in turns times weights of all.
    owed: Vec<i64>,
}

/// The server that gets the next client. `None` if no server is open.
pub fn choose(balance: Balance, field: &impl Field, turns: &mut Turns) -> Option<usize> {
    match balance {
        Balance::RoundRobin => next_in_turn(field, turns),
        Balance::LeastConnections => fewest(field, turns),
        Balance::RandomTwo => better_of_two(field),
        Balance::SourceHash => field.by_source(),
    }
}

fn open(field: &impl Field) -> impl Iterator<Item = usize> {
    (0..field.servers()).filter(|number| field.is_open(*number))
}

/// The one that is owed most: each is owed its weight in each turn, and whoever gets one has had that of all. So a server of
/// weight 3 beside one of 1 gets three of four turns, and not three in a row (as in nginx).
fn next_in_turn(field: &impl Field, turns: &mut Turns) -> Option<usize> {
    let owed = &mut turns.owed;
    owed.resize(field.servers(), 0);
    let mut all = 0;
    let mut chosen: Option<usize> = None;
    for number in open(field) {
        let weight = i64::from(field.weight(number));
        all += weight;
        owed[number] += weight;
        if chosen.is_none_or(|chosen| owed[number] > owed[chosen]) {
            chosen = Some(number);
        }
    }
    owed[chosen?] -= all;
    chosen
}

/// Of several that are as loaded, they take turns: a server that has just come up would otherwise get all at once by its number.
fn fewest(field: &impl Field, turns: &mut Turns) -> Option<usize> {
    let (servers, first) = (field.servers(), turns.next);
    let in_turn = (0..servers).map(|step| (first + step) % servers).filter(|number| field.is_open(*number));
    let chosen = in_turn.min_by(|one, other| by_load(field, *one, *other))?;
    turns.next = chosen + 1;
    Some(chosen)
}

/// Which of two has fewer clients for its weight, with the one that is to come (as in HAProxy). One that has none is free,
/// whatever its weight.
fn by_load(field: &impl Field, one: usize, other: usize) -> Ordering {
    let clients = |number| match field.load(number) {
        0 => 0,
        load => u64::from(load) + 1,
    };
    let weight = |number| u64::from(field.weight(number));
    (clients(one) * weight(other)).cmp(&(clients(other) * weight(one)))
}

fn better_of_two(field: &impl Field) -> Option<usize> {
    let first = drawn(field, None)?;
    let second = drawn(field, Some(first));
    [Some(first), second].into_iter().flatten().min_by(|one, other| by_load(field, *one, *other))
}

/// One that is open, by chance: each has as many lots as its weight is. It is not this one.
fn drawn(field: &impl Field, besides: Option<usize>) -> Option<usize> {
    let others = || open(field).filter(|number| Some(*number) != besides);
    let lots = |number: usize| u64::from(field.weight(number));
    let mut lot = fastrand::u64(..others().map(lots).sum::<u64>().max(1));
    others().find(|number| match lot.checked_sub(lots(*number)) {
        Some(rest) => {
            lot = rest;
            false
        }
        None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads of those that are open, and weights of all.
    struct Servers(Vec<Option<u32>>, Vec<u32>);

    impl Field for Servers {
        fn servers(&self) -> usize {
            self.0.len()
        }

        fn is_open(&self, number: usize) -> bool {
            self.0[number].is_some()
        }

        fn load(&self, number: usize) -> u32 {
            self.0[number].unwrap_or(u32::MAX)
        }

        fn weight(&self, number: usize) -> u32 {
            self.1[number]
        }

        fn by_source(&self) -> Option<usize> {
            (0..self.servers()).find(|number| self.is_open(*number))
        }
    }

    fn chosen(balance: Balance, loads: &[Option<u32>], times: usize) -> Vec<usize> {
        chosen_by_weight(balance, loads, &vec![1; loads.len()], times)
    }

    fn chosen_by_weight(balance: Balance, loads: &[Option<u32>], weights: &[u32], times: usize) -> Vec<usize> {
        let (servers, mut turns) = (Servers(loads.to_vec(), weights.to_vec()), Turns::default());
        (0..times).filter_map(|_| choose(balance, &servers, &mut turns)).collect()
    }

    #[test]
    fn open_servers_take_turns_and_the_others_are_passed_over() {
        assert_eq!(chosen(Balance::RoundRobin, &[Some(9), None, Some(0)], 5), [0, 2, 0, 2, 0]);
        assert_eq!(chosen(Balance::LeastConnections, &[Some(1), Some(0), Some(0)], 4), [1, 2, 1, 2]);
        assert_eq!(chosen(Balance::SourceHash, &[None, Some(7)], 2), [1, 1]);
    }

    #[test]
    fn turns_loads_and_chances_are_by_weight() {
        let chosen = |balance, loads: &[u32], weights: &[u32], times| {
            let loads: Vec<Option<u32>> = loads.iter().copied().map(Some).collect();
            chosen_by_weight(balance, &loads, weights, times)
        };
        assert_eq!(chosen(Balance::RoundRobin, &[0, 0], &[3, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
        assert_eq!(chosen(Balance::RoundRobin, &[0, 0, 0], &[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        // 7 of 3 is fewer than 3 of 1, and not fewer than 2 of 1.
        assert_eq!(chosen(Balance::LeastConnections, &[6, 2], &[3, 1], 1), [0]);
        assert_eq!(chosen(Balance::LeastConnections, &[6, 1], &[3, 1], 1), [1]);
        assert_eq!(chosen(Balance::LeastConnections, &[0, 0], &[3, 1], 3), [0, 1, 0]);
        let first = chosen(Balance::RandomTwo, &[5, 5, 5], &[200, 1, 1], 300);
        assert!(first.iter().filter(|number| **number == 0).count() > 250, "{first:?}");
    }

    #[test]
    fn of_two_the_one_with_fewer_is_chosen_and_the_worst_of_all_never() {
        let chosen = chosen(Balance::RandomTwo, &[Some(5), None, Some(1), Some(9)], 200);
        assert_eq!(chosen.len(), 200);
        assert!(!chosen.contains(&3) && chosen.contains(&0) && chosen.contains(&2), "{chosen:?}");
        assert_eq!(super::tests::chosen(Balance::RandomTwo, &[None, Some(3)], 3), [1, 1, 1]);
    }

    #[test]
    fn where_no_server_is_open_none_is_chosen() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections, Balance::RandomTwo, Balance::SourceHash] {
            assert!(chosen(balance, &[None, None], 1).is_empty());
            assert!(chosen(balance, &[], 1).is_empty());
        }
    }
}
