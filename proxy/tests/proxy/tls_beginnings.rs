//! A PROXY header before a TLS handshake that ends at the proxy.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use reactord_tls::Version;

use super::rig::{Client, PATIENCE, Proxy, address, free_address, upstream};
use super::tls_rig::{Authority, Tls, quoted};

const NAME: &str = "a.example";

/// What a header of version 1 says of a client.
const LINE: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

/// The same in version 2, with an extension.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb\x05\0\x02id";

fn config(authority: &Authority, listen: SocketAddr, accepted: &str, server: SocketAddr) -> String {
    format!(
        "access_log = 'text'\n[listener.l]\nbind = '{listen}'\nupstream = 'u'\naccept_proxy = ['{accepted}']\n\
         deny = ['203.0.113.0/24']\ntls = {{ certificates = {} }}\n\
         [upstream.u]\nservers = ['{server}']\nsend_proxy = 'v1'\n",
        quoted(&authority.path(&format!("{NAME}.pem")))
    )
}

fn connect(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
fn a_header_and_the_handshake_behind_it_go_on_through_replacements_in_the_middle_of_either() {
    let (authority, listen, server) = (Authority::new(), free_address(), upstream());
    authority.certify(NAME);
    let proxy = Proxy::serve(&config(&authority, listen, "127.0.0.0/8", address(&server)));
    for version in [Version::Tls13, Version::Tls12] {
        let connector = authority.connector(version);
        for header in [LINE.as_bytes(), BINARY] {
            let mut stream = connect(listen);
            // Somewhere in it, before its last byte, and behind it.
            let cuts = [0, 7, header.len() - 1, header.len()];
            for cut in cuts.windows(2) {
                stream.write_all(&header[cut[0]..cut[1]]).unwrap();
                proxy.replace();
            }
            let mut flights = 0;
            let mut client = Tls::connect_by(stream, &connector, NAME, |stream, out| {
                let (part, rest) = out.split_at(out.len() / 2);
                stream.write_all(part)?;
                flights += 1;
                // One of TLS 1.2 that has been answered does not move.
                if flights == 1 || version == Version::Tls13 {
                    proxy.replace();
                }
                stream.write_all(rest)
            })
            .unwrap();
            let mut served = Client::of(server.accept().unwrap().0);
            served.receive(LINE);
            client.send("and more");
            served.receive("and more");
            proxy.replace();
            assert!(proxy.answers(&["connections"]).contains("192.0.2.7:4711"));
            served.send("an answer");
            client.receive("an answer");
            client.finish();
            served.ends();
            drop(served);
            proxy.notes(&["client=192.0.2.7:4711", "passed_on_by=127.0.0.1:", "tls_version="]);
        }
    }
}

#[test]
fn a_header_and_the_first_words_of_tls_may_come_together() {
    let (authority, listen, server) = (Authority::new(), free_address(), upstream());
    authority.certify(NAME);
    let _proxy = Proxy::serve(&config(&authority, listen, "127.0.0.0/8", address(&server)));
    let connector = authority.connector(Version::Tls13);
    let mut header = LINE.as_bytes().to_vec();
    let together = |stream: &mut TcpStream, out: &[u8]| stream.write_all(&[&std::mem::take(&mut header), out].concat());
    let _client = Tls::connect_by(connect(listen), &connector, NAME, together).unwrap();
    Client::of(server.accept().unwrap().0).receive(LINE);
}

#[test]
fn who_is_denied_is_who_the_header_says_and_not_who_has_connected() {
    let (authority, listen, server) = (Authority::new(), free_address(), upstream());
    authority.certify(NAME);
    let proxy = Proxy::serve(&config(&authority, listen, "127.0.0.0/8", address(&server)));
    let mut stream = connect(listen);
    stream.write_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n").unwrap();
    drop(Tls::connect_by(stream, &authority.connector(Version::Tls12), NAME, |stream, out| stream.write_all(out)));
    proxy.notes(&["client=203.0.113.7:4711", "passed_on_by=127.0.0.1:", "end=denied"]);
}

#[test]
fn who_has_to_begin_with_a_header_and_does_not_is_not_served_and_nor_is_who_may_not_and_does() {
    let (authority, [due, undue], server) = (Authority::new(), [free_address(), free_address()], upstream());
    authority.certify(NAME);
    let connector = authority.connector(Version::Tls13);
    let proxy = Proxy::serve(&config(&authority, due, "127.0.0.0/8", address(&server)));
    Tls::try_to_connect(due, &connector, NAME).err().unwrap();
    proxy.says(&["is not served: no header of the PROXY protocol: it begins otherwise"]);
    let mut endless = connect(due);
    endless.write_all(&[&BINARY[..14], &[0x20, 0]].concat()).unwrap();
    proxy.says(&["is not served: no header of the PROXY protocol: 8208 bytes are announced"]);

    let other = Proxy::serve(&config(&authority, undue, "10.0.0.0/8", address(&server)));
    let mut stream = connect(undue);
    stream.write_all(LINE.as_bytes()).unwrap();
    Tls::connect_by(stream, &connector, NAME, |stream, out| stream.write_all(out)).err().unwrap();
    other.says(&["is not served: TLS: "]);
    let client = Tls::connect(undue, &connector, NAME);
    let own =
        format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.stream.local_addr().unwrap().port(), undue.port());
    Client::of(server.accept().unwrap().0).receive(own);
}

#[test]
fn what_was_due_when_a_client_came_is_heard_also_where_it_is_not_due_any_more() {
    let (authority, listen, server) = (Authority::new(), free_address(), upstream());
    authority.certify(NAME);
    let file = |accepted| config(&authority, listen, accepted, address(&server));
    let proxy = Proxy::serve(&file("127.0.0.0/8"));
    let connector = authority.connector(Version::Tls13);
    let mut before = connect(listen);
    before.write_all(&LINE.as_bytes()[..7]).unwrap();
    proxy.reload(&file("10.0.0.0/8"));
    before.write_all(&LINE.as_bytes()[7..]).unwrap();
    let _before = Tls::connect_by(before, &connector, NAME, |stream, out| stream.write_all(out)).unwrap();
    Client::of(server.accept().unwrap().0).receive(LINE);
    // And who began with TLS goes on with it, where others have to begin otherwise by now.
    let silent = connect(listen);
    let port = silent.local_addr().unwrap().port();
    let _behind = Tls::connect_by(silent, &connector, NAME, |stream, out| {
        let (part, rest) = out.split_at(out.len() / 2);
        stream.write_all(part)?;
        proxy.reload(&file("127.0.0.0/8"));
        stream.write_all(rest)
    })
    .unwrap();
    let own = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {}\r\n", listen.port());
    Client::of(server.accept().unwrap().0).receive(own);
}
