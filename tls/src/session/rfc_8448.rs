//! The records of RFC 8448 section 3, a handshake of TLS 1.3 of which every byte is known.

use super::tests::{open, sealed};
use super::*;
use crate::secret::Secret;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

const SUITE_8448: Suite = Suite::Tls13Aes128GcmSha256;

/// RFC 8448 section 3: both sides after their handshake.
fn rfc_8448() -> (Session, Session) {
    let client = hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    let server = hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    let secret = |bytes: &[u8]| Secret::new(SUITE_8448, bytes).unwrap();
    // The server has sent a ticket before.
    let (server_tx, server_rx) = (Direction::new(secret(&server), 1), Direction::new(secret(&client), 0));
    let (client_tx, client_rx) = (Direction::new(secret(&client), 0), Direction::new(secret(&server), 1));
    let session = |role, tx, rx| Session::new(SUITE_8448, role, tx, rx);
    (session(Role::Server, server_tx, server_rx), session(Role::Client, client_tx, client_rx))
}

#[test]
fn keys_follow_from_secrets_as_in_rfc_8448() {
    let (server, client) = rfc_8448();
    let expected = [
        ("9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"),
        ("17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"),
    ];
    for (session, (key, iv)) in [server, client].iter().zip(expected) {
        assert!(session.tx.secret().material(SUITE_8448).is(SUITE_8448, &hex(key), &hex(iv)));
    }
}

#[test]
fn records_are_those_of_rfc_8448() {
    let (mut server, mut client) = rfc_8448();
    let data: Vec<u8> = (0..50).collect();
    let from_client = hex(
        "17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5
         b4 6b 39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4",
    );
    let from_server = hex(
        "17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d
         90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d",
    );
    assert_eq!(sealed(&mut client, &data), from_client);
    assert_eq!(sealed(&mut server, &data), from_server);
    assert_eq!(open(&mut server, &from_client), (data.clone(), vec![], Ok(from_client.len())));
    assert_eq!(open(&mut client, &from_server), (data, vec![], Ok(from_server.len())));
    let mut ends = [Vec::new(), Vec::new()];
    client.close(&mut ends[0]);
    server.close(&mut ends[1]);
    let expected = ["c9872760655666b74d7ff1153efd6db6d0b0e3", "b58fd67166ebf599d24720cfbe7efa7a8864a9"];
    assert_eq!(ends, expected.map(|end| [hex("1703030013"), hex(end)].concat()));
    assert_eq!(open(&mut server, &ends[0]).2, Ok(ends[0].len()));
    assert_eq!((server.end(), client.end()), (End::Orderly, End::Truncated));
}
