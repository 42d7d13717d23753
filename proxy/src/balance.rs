//! Which server gets the next client. Pure: it knows numbers and loads, and nothing of connections.

use crate::config::Balance;

/// The servers of an upstream as they are when somebody has to be led to one of them.
pub trait Field {
    /// How many there are; they have numbers from 0 on.
    fn servers(&self) -> usize;

    /// Whether the server with this number may get the next client.
    fn is_open(&self, number: usize) -> bool;

    /// How many clients it has.
    fn load(&self, number: usize) -> u32;

    /// The one that a hash of the client's address leads to, if that one is open, or else another open one that it leads to.
    fn by_source(&self) -> Option<usize>;
}

/// What goes on from one choice to the next.
#[derive(Debug, Default)]
pub struct Turns {
    next: usize,
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

/// All open servers, beginning with the one whose turn it is.
fn in_turn<'f, F: Field>(field: &'f F, turns: &Turns) -> impl Iterator<Item = usize> + use<'f, F> {
    let (servers, first) = (field.servers(), turns.next);
    (0..servers).map(move |step| (first + step) % servers).filter(|number| field.is_open(*number))
}

fn next_in_turn(field: &impl Field, turns: &mut Turns) -> Option<usize> {
    let chosen = in_turn(field, turns).next()?;
    turns.next = chosen + 1;
    Some(chosen)
}

/// Of several with as few, they take turns: a server that has just come up would otherwise get all at once by its number.
fn fewest(field: &impl Field, turns: &mut Turns) -> Option<usize> {
    let chosen = in_turn(field, turns).min_by_key(|number| field.load(*number))?;
    turns.next = chosen + 1;
    Some(chosen)
}

fn better_of_two(field: &impl Field) -> Option<usize> {
    let open = || (0..field.servers()).filter(|number| field.is_open(*number));
    let count = open().count();
    let first = fastrand::usize(..count.max(1));
    // One of the others, each as likely.
    let second = fastrand::usize(..count.saturating_sub(1).max(1));
    let second = second + usize::from(second >= first && count > 1);
    [first, second].into_iter().filter_map(|nth| open().nth(nth)).min_by_key(|number| field.load(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Servers(Vec<Option<u32>>);

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

        fn by_source(&self) -> Option<usize> {
            (0..self.servers()).find(|number| self.is_open(*number))
        }
    }

    fn chosen(balance: Balance, loads: &[Option<u32>], times: usize) -> Vec<usize> {
        let (servers, mut turns) = (Servers(loads.to_vec()), Turns::default());
        (0..times).filter_map(|_| choose(balance, &servers, &mut turns)).collect()
    }

    #[test]
    fn open_servers_take_turns_and_the_others_are_passed_over() {
        assert_eq!(chosen(Balance::RoundRobin, &[Some(9), None, Some(0)], 5), [0, 2, 0, 2, 0]);
        assert_eq!(chosen(Balance::LeastConnections, &[Some(1), Some(0), Some(0)], 4), [1, 2, 1, 2]);
        assert_eq!(chosen(Balance::SourceHash, &[None, Some(7)], 2), [1, 1]);
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
