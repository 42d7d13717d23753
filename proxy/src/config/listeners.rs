//! `[listener.NAME]` as a value.

use reactord::Target;

use crate::config::defaults::ForListeners;
use crate::config::model::{Listener, Route};
use crate::config::places::{Placed, Places};
use crate::config::reading::{Section, text};
use crate::config::sni::Sni;
use crate::config::tls;
use crate::config::values::{asked_name, bind, network, rate};
use crate::networks::Networks;

/// What `otherwise` says for nowhere, so no upstream has this name.
pub(super) const CLOSE: &str = "close";

pub(super) fn read(name: &str, section: &Section<'_, '_>, defaults: &ForListeners, places: &mut Places) -> Listener {
    let binds = read_binds(name, section, places);
    let own = defaults.overridden(section);
    let listener = Listener {
        name: name.to_owned(),
        allow: section.has("allow").then(|| networks(section, "allow")),
        deny: networks(section, "deny"),
        accept_proxy: networks(section, "accept_proxy"),
        tls: tls::of_listener(name, section, places),
        connection_rate: section.text("connection_rate", rate),
        route: read_route(name, section, places),
        max_connections: own.max_connections,
        header_timeout: own.header_timeout,
        idle_timeout: own.idle_timeout,
        half_close_timeout: own.half_close_timeout,
        user_timeout: own.user_timeout,
        keepalive: own.keepalive,
        bind: binds,
    };
    if !listener.bind.iter().any(|at| matches!(at, Target::Tcp(_))) && !listener.bind.is_empty() {
        refuse_addresses(section);
    }
    listener
}

fn read_binds(name: &str, section: &Section<'_, '_>, places: &mut Places) -> Vec<Target> {
    let binds = section.texts("bind", bind);
    if section.list("bind").next().is_none() {
        section.note_lack("bind", format!("listener {name} listens nowhere: bind = \"0.0.0.0:5432\", for instance"));
    }
    let placed = binds.iter().map(|(offset, at)| Placed { offset: *offset, what: (name.to_owned(), at.clone()) });
    places.binds.extend(placed);
    let all: Vec<Target> = binds.into_iter().map(|(_, at)| at).collect();
    all.iter().filter(|at| !all.iter().any(|other| covers(other, at))).cloned().collect()
}

/// Whether who listens at the one gets what comes to the other, too: `[::]` is all addresses of IPv6 and of IPv4.
fn covers(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Tcp(one), Target::Tcp(other)) if one.port() == other.port() && one.port() != 0 => {
            one.is_ipv6() && one.ip().is_unspecified() && other.is_ipv4() && other.ip().is_unspecified()
        }
        _ => false,
    }
}

fn networks(section: &Section<'_, '_>, key: &'static str) -> Networks {
    section.texts(key, network).into_iter().map(|(_, network)| network).collect()
}

/// Who comes by a Unix socket has no address.
fn refuse_addresses(section: &Section<'_, '_>) {
    for key in ["accept_proxy", "allow", "connection_rate", "deny"].into_iter().filter(|key| section.has(key)) {
        section.note_at(key, format!("{key} is about addresses, and clients of a Unix socket have none"));
    }
}

fn read_route(name: &str, section: &Section<'_, '_>, places: &mut Places) -> Route {
    let upstream = read_led(name, section, "upstream", places);
    if !section.has("sni") {
        if read_led(name, section, "otherwise", places).is_some() {
            section.note_lack("otherwise", "otherwise is for names that sni does not have, and there is no sni");
        }
        if !section.has("upstream") {
            section.note_lack("upstream", format!("listener {name} leads nowhere: it needs upstream or sni"));
        }
        return Route::Upstream(upstream.unwrap_or_default());
    }
    if section.has("upstream") {
        section.note_at("upstream", "with sni, the upstream of all other names is otherwise");
    }
    Route::Sni(read_sni(name, section, places))
}

fn read_led(name: &str, section: &Section<'_, '_>, key: &'static str, places: &mut Places) -> Option<String> {
    let upstream = section.text(key, |text| Ok(text.to_owned()))?;
    if key == "otherwise" && upstream == CLOSE {
        return None;
    }
    let offset = section.value(key)?.span().start;
    places.led.push(Placed { offset, what: (name.to_owned(), upstream.clone()) });
    Some(upstream)
}

fn read_sni(name: &str, section: &Section<'_, '_>, places: &mut Places) -> Sni {
    let mut sni = Sni::new(read_led(name, section, "otherwise", places));
    for (asked, upstream) in section.entries("sni") {
        let reading = section.reading();
        let led = reading.meaning(upstream, |upstream| text(upstream).map(str::to_owned));
        let asked_at = asked.span().start;
        let asked = asked_name(asked.get_ref()).map_err(|what| reading.note(asked_at, what)).ok();
        let (Some(asked), Some(led)) = (asked, led) else { continue };
        if !sni.lead(&asked, &led) {
            reading.note(asked_at, format!("{asked} is led somewhere already"));
        }
        places.led.push(Placed { offset: upstream.span().start, what: (name.to_owned(), led) });
    }
    sni
}
