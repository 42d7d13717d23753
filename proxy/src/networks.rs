//! Sets of networks in CIDR form, and whether an address is in one.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of networks. As small as it can be: networks within others are gone, and neighbours are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Sorted, and none overlaps another.
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
}

impl Networks {
    /// Whether it has no network at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in one of the networks. An IPv4 address is the same when it comes in the form of IPv6
    /// (`::ffff:10.0.0.7`), as it does from a listener of both.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let after = self.v4.partition_point(|network| network.network() <= address);
                after > 0 && self.v4[after - 1].contains(&address)
            }
            IpAddr::V6(address) => {
                let after = self.v6.partition_point(|network| network.network() <= address);
                after > 0 && self.v6[after - 1].contains(&address)
            }
        }
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(network) => v4.push(network),
                IpNet::V6(network) => v6.push(network),
            }
        }
        let (mut v4, mut v6) = (Ipv4Net::aggregate(&v4), Ipv6Net::aggregate(&v6));
        v4.sort_unstable();
        v6.sort_unstable();
        Self { v4, v6 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        texts.iter().map(|text| text.parse::<IpNet>().expect("it is a network")).collect()
    }

    #[test]
    fn address_is_found_at_either_end_of_a_network_and_not_beside_it() {
        let networks = networks(&["10.1.0.0/16", "192.168.7.0/24", "10.1.2.0/24", "fd00::/8", "::1/128"]);
        for inside in ["10.1.0.0", "10.1.255.255", "10.1.2.3", "192.168.7.255", "fdff::1", "::1", "::ffff:10.1.2.3"] {
            assert!(networks.contain(inside.parse().expect("it is an address")), "{inside}");
        }
        for outside in ["10.0.255.255", "10.2.0.0", "192.168.8.0", "0.0.0.0", "255.255.255.255", "fe00::", "::2"] {
            assert!(!networks.contain(outside.parse().expect("it is an address")), "{outside}");
        }
    }

    #[test]
    fn everything_is_in_the_network_of_all_and_nothing_in_none() {
        assert!(networks(&["0.0.0.0/0"]).contain(IpAddr::from([255, 255, 255, 255])));
        assert!(!networks(&["0.0.0.0/0"]).contain("::1".parse().expect("it is an address")));
        assert!(!Networks::default().contain(IpAddr::from([0, 0, 0, 0])) && Networks::default().is_empty());
    }

    proptest! {
        #[test]
        fn address_is_in_the_set_when_it_is_in_one_of_its_networks(
            all in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..20), at in any::<u32>(), near in any::<prop::sample::Index>(),
        ) {
            let all: Vec<IpNet> = all
                .iter()
                .map(|(bits, length)| IpNet::new(IpAddr::V4((*bits).into()), *length).expect("32 bits at most").trunc())
                .collect();
            let set: Networks = all.iter().copied().collect();
            let beside = all.get(near.index(all.len().max(1))).map_or(IpAddr::V4(at.into()), IpNet::broadcast);
            for address in [IpAddr::V4(at.into()), beside] {
                prop_assert_eq!(set.contain(address), all.iter().any(|network| network.contains(&address)));
            }
        }
    }
}
