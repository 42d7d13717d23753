//! As many pairs as fit into 20,000 open files.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use reactord::{Upgrade, Upgraded, upgrade};
use reactord_process::open_files;

use super::rig::{Proxy, address, free_address, upstream};

const PAIRS: usize = 9_000;

/// Besides those, a test has only a few files open.
const FILES: usize = 2 * PAIRS + 500;

/// Both ends of all pairs; each is asked and answers something of its own in each round.
struct Pairs {
    clients: Vec<TcpStream>,
    served: Vec<TcpStream>,
}

impl Pairs {
    fn connect(listen: SocketAddr, servers: &[TcpListener]) -> Self {
        let (mut clients, mut served) = (Vec::new(), Vec::new());
        for number in 0..PAIRS {
            clients.push(TcpStream::connect(listen).expect("somebody listens"));
            // They take turns.
            served.push(servers[number % servers.len()].accept().expect("it is connected on").0);
        }
        Self { clients, served }
    }

    fn say(from: &mut [TcpStream], round: u32) {
        for (number, socket) in (0_u32..).zip(from) {
            socket.write_all(&word(number, round)).expect("it stands");
        }
    }

    fn hear(to: &mut [TcpStream], round: u32) {
        for (number, socket) in (0_u32..).zip(to) {
            let mut heard = [0; 8];
            socket.read_exact(&mut heard).expect("it stands");
            assert_eq!(heard, word(number, round), "pair {number} in round {round}");
        }
    }
}

fn word(number: u32, round: u32) -> [u8; 8] {
    (u64::from(round) << 32 | u64::from(number)).to_be_bytes()
}

#[test]
#[ignore = "it takes minutes, and 20,000 open files in each process"]
fn nine_thousand_pairs_go_on_through_fifty_replacements() {
    open_files::raise_limit();
    let allowed = open_files::limit();
    assert!(allowed >= FILES, "{allowed} files may be open, {FILES} are needed");
    let listen = free_address();
    let servers: Vec<TcpListener> = (0..3).map(|_| upstream()).collect();
    let places: Vec<String> = servers.iter().map(|server| format!("'{}'", address(server))).collect();
    let proxy = Proxy::serve(&format!(
        "[listener.l]\nbind = '{listen}'\nupstream = 'u'\n[upstream.u]\nservers = [{}]\n",
        places.join(", ")
    ));
    let mut pairs = Pairs::connect(listen, &servers);
    let mut pauses_us = Vec::new();
    let begun = Instant::now();
    for round in 0..50 {
        // Half of what is said is on its way when the proxy is replaced.
        Pairs::say(&mut pairs.clients, round);
        let upgraded = upgrade(&proxy.path(), &Upgrade::default(), |_| {}).unwrap();
        let Upgraded::HandedOver { pause, .. } = &upgraded else { panic!("{upgraded:?}") };
        pauses_us.extend(pause.map(|pause| pause.as_micros()));
        Pairs::hear(&mut pairs.served, round);
        Pairs::say(&mut pairs.served, round);
        Pairs::hear(&mut pairs.clients, round);
    }
    pauses_us.sort_unstable();
    eprintln!("{PAIRS} pairs, 50 replacements in {:?}; pauses in us: {pauses_us:?}", begun.elapsed());
    assert!(proxy.answers(&["connections"]).lines().count() == PAIRS);
}
