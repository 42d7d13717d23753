//! What has to fit together in a file: names that are led to, and places that are listened on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use reactord::Target;

use crate::config::keys::closest;
use crate::config::places::{Placed, Places};
use crate::config::reading::Reading;
use crate::config::values::written;

/// As many as a server of the library may have.
const BINDS_MAX: usize = 127;

/// Notes what does not fit together. `upstreams` are all that there are.
pub(super) fn check(places: &Places, upstreams: &[&str], reading: &Reading) {
    check_led(places, upstreams, reading);
    let mut binds: Vec<&Placed<_>> = places.binds.iter().collect();
    binds.sort_by_key(|bind| bind.offset);
    check_binds(&binds, reading);
    check_circles(places, reading);
}

fn check_led(places: &Places, upstreams: &[&str], reading: &Reading) {
    for Placed { offset, what: (listener, upstream) } in &places.led {
        if upstreams.contains(&upstream.as_str()) {
            continue;
        }
        let hint = match closest(upstream, upstreams) {
            Some(meant) => format!("did you mean {meant}?"),
            None if upstreams.is_empty() => "there is no [upstream.NAME]".to_owned(),
            None => format!("there are {}", upstreams.join(", ")),
        };
        reading.note(*offset, format!("listener {listener} leads to upstream {upstream}, which is unknown: {hint}"));
    }
}

fn check_binds(binds: &[&Placed<(String, Target)>], reading: &Reading) {
    for (index, Placed { offset, what: (user, at) }) in binds.iter().enumerate() {
        let clash = |earlier: &&&Placed<(String, Target)>| {
            let (other, there) = &earlier.what;
            let both_families = user == other && same_port_of_both_families(at, there);
            !both_families && meet(at, there)
        };
        if let Some(Placed { what: (other, there), .. }) = binds[..index].iter().find(clash) {
            let what =
                if at == there { "listens there already" } else { "listens on what this includes, or is included in" };
            reading.note(*offset, format!("{}: {} {what}, on {}", written(at), named(other), written(there)));
        }
    }
    if let Some(Placed { offset, .. }) = binds.get(BINDS_MAX) {
        reading.note(*offset, format!("{} addresses are listened on, and {BINDS_MAX} are possible", binds.len()));
    }
}

fn named(user: &str) -> String {
    if user.is_empty() { "metrics".to_owned() } else { format!("listener {user}") }
}

/// Whether the kernel refuses whoever listens at the second of the two.
fn meet(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Tcp(one), Target::Tcp(other)) => {
            let port = one.port() == other.port() && one.port() != 0;
            port && (one.ip() == other.ip() || includes(one.ip(), other.ip()) || includes(other.ip(), one.ip()))
        }
        (one, other) => one == other,
    }
}

/// Whether who listens on the one address gets what comes to the other.
fn includes(all: IpAddr, one: IpAddr) -> bool {
    all.is_unspecified() && (all.is_ipv6() || one.is_ipv4())
}

/// One listener may have both, of which `[::]` includes the other.
fn same_port_of_both_families(one: &Target, other: &Target) -> bool {
    let all = |target: &Target| match target {
        Target::Tcp(address) if address.ip().is_unspecified() => Some((address.port(), address.is_ipv6())),
        _ => None,
    };
    matches!((all(one), all(other)), (Some((one, v6)), Some((other, other_v6))) if one == other && v6 != other_v6)
}

/// A connection that comes back to its listener would be led on for ever.
fn check_circles(places: &Places, reading: &Reading) {
    let mut listeners: BTreeMap<&str, Vec<&Target>> = BTreeMap::new();
    for Placed { what: (listener, upstream), .. } in &places.led {
        let binds = places.binds.iter().filter(|bind| bind.what.0 == *listener).map(|bind| &bind.what.1);
        listeners.entry(upstream).or_default().extend(binds);
    }
    for Placed { offset, what: (upstream, server) } in &places.servers {
        let binds = listeners.get(upstream.as_str()).into_iter().flatten();
        if let Some(bind) = binds.into_iter().find(|bind| leads_back(bind, server)) {
            reading.note(
                *offset,
                format!("{} leads back to where its clients come from, {}", written(server), written(bind)),
            );
        }
    }
}

fn leads_back(bind: &Target, server: &Target) -> bool {
    match (bind, server) {
        (Target::Tcp(bind), Target::Tcp(server)) => is_here(*bind, *server),
        (bind, server) => bind == server,
    }
}

fn is_here(bind: SocketAddr, server: SocketAddr) -> bool {
    let local = server.ip().is_loopback() || server.ip().is_unspecified();
    bind.port() == server.port() && (bind.ip() == server.ip() || (local && includes(bind.ip(), server.ip())))
}
