//! Which server a client is led to, always the same one while it is up.
//!
//! By rendezvous: for each client every server has a rank, and the first of those that are up gets it. So a server that goes
//! moves only its own clients, spread over all others, and one that comes takes an equal share from each. A server of a weight
//! has as many places, and the best of their ranks: so one that gets a higher weight only takes, and no others change. Ranks
//! come from names, weights and addresses alone: they are the same in every process, on every machine, and in every version.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

/// Something that has a place: a client, or a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// The place of a client. It has the same one with an IPv4 address as with that address in the form of IPv6.
    #[must_use]
    pub fn of_client(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of(&address.octets()),
            IpAddr::V6(address) => Self::of(&address.octets()),
        }
    }

    /// The place of a server with this name.
    #[must_use]
    pub fn of_server(name: &str) -> Self {
        Self::of(name.as_bytes())
    }

    fn of(bytes: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(bytes);
        Self(hasher.finish())
    }

    /// One more place of the same server (the step of SplitMix64); the first is the one that it has.
    fn another(self, nth: u64) -> Self {
        Self(self.0.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// The rank of a server for a client: two places, mixed so that every bit counts (the finish of SplitMix64).
    fn rank(self, client: Self) -> u64 {
        let mut mixed = self.0 ^ client.0.rotate_left(32);
        for (shift, factor) in [(30, 0xbf58_476d_1ce4_e5b9), (27, 0x94d0_49bb_1331_11eb)] {
            mixed = (mixed ^ (mixed >> shift)).wrapping_mul(factor);
        }
        mixed ^ (mixed >> 31)
    }
}

/// The one of these servers, each with its place and its weight, that a client is led to. `None` if there are none.
pub fn led_to<T>(client: Place, servers: impl IntoIterator<Item = (T, Place, u32)>) -> Option<T> {
    let best = |place: Place, weight: u32| (0..weight.into()).map(|nth| place.another(nth).rank(client)).max();
    let first = servers.into_iter().max_by_key(|(_, place, weight)| best(*place, *weight));
    first.map(|(server, ..)| server)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: u32 = 20_000;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("10.0.0.{number}:5432")).collect()
    }

    fn led(servers: &[String], client: u32) -> usize {
        led_by_weight(servers, |_| 1, client)
    }

    fn led_by_weight(servers: &[String], weight: impl Fn(usize) -> u32, client: u32) -> usize {
        let place = |(index, name): (usize, &String)| (index, Place::of_server(name), weight(index));
        let places = servers.iter().enumerate().map(place);
        led_to(Place::of_client(IpAddr::V4(client.into())), places).expect("there are servers")
    }

    #[test]
    fn every_server_gets_its_share_and_one_that_goes_moves_no_others() {
        let servers = names(10);
        let mut counts = [0; 10];
        for client in 0..CLIENTS {
            let before = led(&servers, client);
            counts[before] += 1;
            let after = led(&servers[..9], client);
            assert!(before == 9 || after == before, "client {client} moves from {before} to {after}");
        }
        let share = CLIENTS / 10;
        assert!(counts.iter().all(|count| (share - share / 10..share + share / 10).contains(count)), "{counts:?}");
    }

    #[test]
    fn clients_of_a_server_that_goes_are_spread_over_all_others() {
        let servers = names(5);
        let mut counts = [0; 4];
        for client in (0..CLIENTS).filter(|client| led(&servers, *client) == 4) {
            counts[led(&servers[..4], client)] += 1;
        }
        assert!(counts.iter().all(|count| *count > CLIENTS / 5 / 4 * 8 / 10), "{counts:?}");
    }

    #[test]
    fn share_of_a_server_is_its_weight_and_one_that_gets_a_higher_one_moves_only_those_whom_it_takes() {
        let servers = names(4);
        let mut counts = [0; 4];
        for client in 0..CLIENTS {
            let before = led_by_weight(&servers, |index| [1, 2, 4, 2][index], client);
            counts[before] += 1;
            let after = led_by_weight(&servers, |index| [1, 2, 4, 3][index], client);
            assert!(after == before || after == 3, "client {client} moves from {before} to {after}");
        }
        for (count, weight) in counts.into_iter().zip([1, 2, 4, 2]) {
            let share = CLIENTS * weight / 9;
            assert!((share * 9 / 10..share * 11 / 10).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn order_of_servers_and_form_of_an_address_change_nothing() {
        let mut servers = names(7);
        let first = servers[led(&servers, 77)].clone();
        servers.reverse();
        assert_eq!(servers[led(&servers, 77)], first);
        let mapped = "::ffff:10.1.2.3".parse().expect("it is an address");
        assert_eq!(Place::of_client(mapped), Place::of_client([10, 1, 2, 3].into()));
        assert_eq!(led_to::<()>(Place::of_server(""), []), None);
    }

    #[test]
    fn ranks_are_the_same_in_every_version() {
        let servers = names(8);
        let led: Vec<usize> = (0..16).map(|client| led(&servers, client)).collect();
        assert_eq!(led, [2, 7, 3, 3, 2, 4, 3, 2, 0, 1, 7, 5, 4, 0, 5, 6]);
    }
}
