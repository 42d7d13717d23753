//! `[upstream.NAME]` as a value.

use std::ops::RangeInclusive;

use crate::config::defaults::{CONNECTIONS, ForUpstreams};
use crate::config::keys;
use crate::config::listeners::CLOSE;
use crate::config::model::{At, ProxyVersion, Server, Upstream};
use crate::config::places::{Placed, Places};
use crate::config::reading::{Section, Value, text};
use crate::config::tls;
use crate::config::values::{duration_or_never, one_of, server};

/// What a weight may be, as in HAProxy's files.
const WEIGHTS: RangeInclusive<u32> = 0..=256;

const WEIGHT_DEFAULT: u32 = 1;

pub(super) fn read(name: &str, section: &Section<'_, '_>, defaults: &ForUpstreams, places: &mut Places) -> Upstream {
    let own = defaults.overridden(section);
    if name == CLOSE {
        section.note(format!("no upstream can have the name {CLOSE}: otherwise = \"{CLOSE}\" closes"));
    }
    let servers = read_servers(name, section, places);
    Upstream {
        name: name.to_owned(),
        tls: tls::of_upstream(name, section, &servers, places),
        servers,
        balance: own.balance,
        check: own.check,
        eject: own.eject,
        queue: own.queue,
        on_down: own.on_down,
        send_proxy: section.text("send_proxy", send_proxy).flatten(),
        connect_timeout: own.connect_timeout,
        retries: own.retries,
    }
}

fn send_proxy(word: &str) -> Result<Option<ProxyVersion>, String> {
    let (v1, v2, v2_ssl) = (Some(ProxyVersion::V1), Some(ProxyVersion::V2), Some(ProxyVersion::V2Ssl));
    one_of(&[("v1", v1), ("v2", v2), ("v2-ssl", v2_ssl), ("off", None)], word)
}

fn read_servers(name: &str, section: &Section<'_, '_>, places: &mut Places) -> Vec<Server> {
    let values: Vec<&Value<'_>> = section.list("servers").collect();
    let mut servers: Vec<Server> = Vec::new();
    for value in &values {
        let Some(server) = read_server(section, value) else { continue };
        let offset = value.span().start;
        if servers.iter().any(|other| other.name == server.name) {
            section.reading().note(offset, format!("upstream {name} has a server {} already", server.name));
        }
        if let At::Known(target) = &server.at {
            places.servers.push(Placed { offset, what: (name.to_owned(), target.clone()) });
        }
        servers.push(server);
    }
    if values.is_empty() {
        section.note_lack("servers", format!("upstream {name} has no servers"));
    } else if !servers.is_empty() && servers.iter().all(|server| server.backup) {
        section.note_at(
            "servers",
            format!("upstream {name} has only backup servers, which nobody is led to while others are up"),
        );
    }
    servers
}

/// A server is a string, or a table with more.
fn read_server(upstream: &Section<'_, '_>, value: &Value<'_>) -> Option<Server> {
    let reading = upstream.reading();
    if value.get_ref().is_str() {
        return reading.meaning(value, |value| text(value).and_then(|at| Ok(plain(at, server(at)?))));
    }
    let section = Section::of(reading, value, &keys::SERVER)?;
    if !section.has("at") {
        section.note_lack("at", "a server needs at: where it is");
    }
    let mut server = section.text("at", |at| Ok(plain(at, server(at)?)))?;
    set_resolve(&section, &mut server.at);
    server.backup = section.is_true("backup").unwrap_or(false);
    server.max_connections = section.count("max_connections", CONNECTIONS);
    server.weight = section.count("weight", WEIGHTS).unwrap_or(WEIGHT_DEFAULT);
    if let Some(name) = section.text("name", server_name) {
        server.name = name;
    }
    Some(server)
}

/// A server of which only is said where it is.
fn plain(name: &str, at: At) -> Server {
    Server { name: name.to_owned(), at, backup: false, max_connections: None, weight: WEIGHT_DEFAULT }
}

fn set_resolve(section: &Section<'_, '_>, at: &mut At) {
    match (section.read("resolve", duration_or_never), at) {
        (Some(resolve), At::Named(host)) => host.resolve = resolve,
        (Some(_), At::Known(_)) => section.note_at("resolve", "only a name is resolved, and this server has none"),
        (None, _) => {}
    }
}

fn server_name(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.chars().all(|letter| letter.is_ascii_graphic() && !"\"\\".contains(letter)) {
        return Err(format!("{text:?} is no name: visible letters of ASCII are expected, without quotes"));
    }
    Ok(text.to_owned())
}
