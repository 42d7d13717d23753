//! `reactord peers`: all peers of a server, one a line.

use std::process::ExitCode;

use reactord::{PeerStatus, list_peers};
use serde_json::json;

use crate::options::PeersOf;
use reactord::program::fail;

/// So much is written at once.
const WRITTEN_BYTES: usize = 64 * 1024;

/// What is above the lines for people.
const HEAD: &str = "ADDRESS SERVICE AGE BYTES-IN BYTES-OUT PENDING-IN PENDING-OUT PHASE\n";

/// Says who a server's peers are.
pub(crate) fn say_peers(PeersOf { path, json }: &PeersOf) -> ExitCode {
    let mut lines = if *json { String::new() } else { HEAD.to_owned() };
    let listed = list_peers(path, |peer| {
        lines.push_str(&if *json { format!("{}\n", as_json(&peer)) } else { as_text(&peer) });
        if lines.len() >= WRITTEN_BYTES {
            reactord_cli::say(&std::mem::take(&mut lines));
        }
    });
    match listed {
        Ok(()) => {
            reactord_cli::say(&lines);
            ExitCode::SUCCESS
        }
        Err(error) => {
            // What is known of some of them is better than nothing, and the exit code tells that it is not all.
            reactord_cli::say(&lines);
            fail(&error)
        }
    }
}

/// Columns with one blank between them, `-` for what nobody knows.
fn as_text(peer: &PeerStatus) -> String {
    let known = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
    let (age, received, sent) = (known(peer.age_s.map(u64::from)), known(peer.received_bytes), known(peer.sent_bytes));
    let PeerStatus { address, service, inbound_bytes, outbound_bytes, phase, held, .. } = peer;
    let why = if held.is_empty() { String::new() } else { format!(":{}", held.join(",")) };
    format!("{address} {service} {age} {received} {sent} {inbound_bytes} {outbound_bytes} {phase}{why}\n")
}

fn as_json(peer: &PeerStatus) -> serde_json::Value {
    json!({
        "address": peer.address,
        "service": peer.service,
        "id": peer.id,
        "age_s": peer.age_s,
        "received_bytes": peer.received_bytes,
        "sent_bytes": peer.sent_bytes,
        "inbound_bytes": peer.inbound_bytes,
        "outbound_bytes": peer.outbound_bytes,
        "phase": peer.phase,
        "held": peer.held,
    })
}
