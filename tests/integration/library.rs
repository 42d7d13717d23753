//! The library, as its examples use it.

use crate::harness::{Peer, Place, Server, example};

#[test]
fn shared_state_and_peer_ids_of_the_example_survive_two_takeovers() {
    let place = Place::new();
    let mut server = Server::spawn(&place.path(), example("pubsub").arg("127.0.0.1:0").arg(place.path())).started();
    let address = server.address();
    let [subscriber, leaving, publisher] = std::array::from_fn(|_| Peer::connect(address));
    for peer in [&subscriber, &leaving] {
        peer.send(b"SUB news\n");
        peer.expect(b"\n");
    }
    for (text, subscribers) in [("one", "2\n"), ("two", "2\n")] {
        server = server.taken_over_by(Server::spawn(&place.path(), example("pubsub").arg(place.path())));
        publisher.send(format!("PUB news {text}\n").as_bytes());
        publisher.expect(subscribers.as_bytes());
        for peer in [&subscriber, &leaving] {
            peer.expect(format!("news {text}\n").as_bytes());
        }
    }
    leaving.end_sending();
    leaving.expect_end();
    publisher.send(b"PUB news three\n");
    publisher.expect(b"1\n");
    subscriber.expect(b"news three\n");
    let late = Peer::connect(address);
    late.send(b"SUB news\n");
    late.expect(b"three\n");
    server.stop_with([subscriber, publisher, late]);
}

#[test]
fn examples_name_the_address_that_they_cannot_use() {
    let place = Place::new();
    let path = place.path();
    let path = path.to_str().expect("the place has such a path");
    let calls: [(&str, &[&str]); 7] = [
        ("forward", &["nowhere:1", "127.0.0.1:2", path]),
        ("forward", &["127.0.0.1:0", "nowhere:1", path]),
        ("lanes", &[path, "numbers:tcp:nowhere:1"]),
        ("mqtt", &["nowhere:1", path]),
        ("pubsub", &["nowhere:1", path]),
        ("versions", &["1", "nowhere:1", path]),
        ("websocket", &["nowhere:1", path]),
    ];
    for (name, arguments) in calls {
        let output = example(name).args(arguments).output().expect("it can be run");
        assert!(!output.status.success(), "{name} cannot listen there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("nowhere:1: invalid"), "{name}: {said}");
    }
}
