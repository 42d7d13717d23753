//! What records cost, beside rustls's own connection in the same run:
//! `cargo test --release -p reactord-tls --test figures -- --ignored --nocapture`.

mod support;

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Instant;

use reactord_tls::{Handshake, Role, Session, Suite};
use rustls::Connection;
use support::{ACCEPTOR, client, client_config, heard, met, sent};

/// The least of several times, in nanoseconds for each of so many.
fn least_ns(times: u32, mut run: impl FnMut()) -> f64 {
    let once = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        start.elapsed().as_nanos() as f64 / f64::from(times)
    };
    (0..20).map(|_| once(&mut run)).fold(f64::MAX, f64::min)
}

/// rustls on both sides, after their handshake.
fn rustls_pair(suite: Suite) -> (Connection, Connection) {
    let mut client = Connection::from(client(&client_config(suite)));
    let mut server = Connection::from(support::server(suite));
    while client.is_handshaking() || server.is_handshaking() {
        heard(&mut server, &sent(&mut client)).unwrap();
        heard(&mut client, &sent(&mut server)).unwrap();
    }
    (client, server)
}

/// Sealing and opening one record, by rustls.
fn rustls_ns(suite: Suite, bytes: usize) -> (f64, f64) {
    let (mut client, mut server) = rustls_pair(suite);
    let (data, mut out, mut buffer) = (vec![7; bytes], Vec::new(), vec![0; bytes]);
    let seal = least_ns(500, || {
        out.clear();
        client.writer().write_all(&data).unwrap();
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        black_box(&out);
    });
    let records = (0..2_000).map(|_| {
        let mut out = Vec::new();
        server.writer().write_all(&data).unwrap();
        server.write_tls(&mut out).unwrap();
        out
    });
    let mut records = records.collect::<Vec<_>>().into_iter();
    let open = least_ns(100, || {
        let record = records.next().unwrap();
        let mut unread = &record[..];
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
        }
        client.process_new_packets().unwrap();
        client.reader().read_exact(&mut buffer).unwrap();
        black_box(&buffer);
    });
    (seal, open)
}

/// The same, by sessions.
fn session_ns(suite: Suite, bytes: usize) -> (f64, f64) {
    let mut met = met(suite, Role::Server);
    let data = vec![7; bytes];
    let mut out = Vec::new();
    let seal = least_ns(500, || {
        out.clear();
        met.established.session.seal(&data, &mut out).unwrap();
        black_box(&out);
    });
    let rustls = &mut met.rustls;
    let records = (0..2_000).map(|_| {
        let mut out = Vec::new();
        rustls.writer().write_all(&data).unwrap();
        rustls.write_tls(&mut out).unwrap();
        out
    });
    let mut records = records.collect::<Vec<_>>().into_iter();
    let (mut plain, mut answer) = (Vec::new(), Vec::new());
    let open = least_ns(100, || {
        let mut record = records.next().unwrap();
        plain.clear();
        met.established.session.open(&mut record, &mut plain, &mut answer).unwrap();
        black_box(&plain);
    });
    (seal, open)
}

#[test]
#[ignore = "it measures"]
fn what_records_cost() {
    println!("| suite | bytes | seal, ns | rustls | open, ns | rustls |");
    for suite in [Suite::Tls13Aes128GcmSha256, Suite::Tls13Chacha20Poly1305Sha256, Suite::EcdheEcdsaAes256GcmSha384] {
        for bytes in [64, 1_024, 16_384] {
            let ((seal, open), (rustls_seal, rustls_open)) = (session_ns(suite, bytes), rustls_ns(suite, bytes));
            println!("| {suite:?} | {bytes} | {seal:.0} | {rustls_seal:.0} | {open:.0} | {rustls_open:.0} |");
        }
    }
}

#[test]
#[ignore = "it measures"]
fn what_moving_costs() {
    let session = met(Suite::Tls13Aes128GcmSha256, Role::Server).established.session;
    let save = least_ns(10_000, || drop(black_box(session.save())));
    let both = least_ns(10_000, || drop(black_box(Session::restore(session.save()).unwrap())));
    println!("save {save:.0} ns, save and restore {both:.0} ns, {} bytes in memory", size_of::<Session>());
    let mut hello = Connection::from(client(&client_config(Suite::Tls13Aes128GcmSha256)));
    let mut handshake = Handshake::accept(&ACCEPTOR).unwrap();
    handshake.hear(&sent(&mut hello), &mut Vec::new()).unwrap();
    let bytes = handshake.save().unwrap().bytes().len();
    let restore = least_ns(100, || drop(black_box(Handshake::restore(&ACCEPTOR, handshake.save().unwrap()).unwrap())));
    println!("a handshake under way: {bytes} bytes, save and restore {restore:.0} ns");
}
