//! The example `survivor`, which is killed.

use reactord::Status;

use crate::harness::{Peer, Place, Server, example};
use crate::standbys::{Kept, wait_until};

const GUESTS: usize = 50;

/// All guests come once more, one after the other, and each is told how many came so far.
#[track_caller]
fn come(guests: &[Peer], visits: &mut usize) {
    for guest in guests {
        *visits += 1;
        guest.send(b"Ada\n");
        guest.expect(format!("Ada {visits}\n").as_bytes());
    }
}

#[test]
fn a_count_goes_on_when_its_server_is_killed_and_what_crashes_it_costs_its_sender_alone() {
    let place = Place::new();
    let server = Server::spawn(&place.path(), example("survivor").arg("127.0.0.1:0").arg(place.path())).started();
    let address = server.address();
    let (guests, mut visits) = (Peer::connect_many(address, GUESTS), 0);
    let mut kept = Kept::of(server, &place);
    kept.next();
    come(&guests, &mut visits);
    kept.servers[0].kill();
    come(&guests, &mut visits);
    kept.next();
    let crasher = Peer::connect(address);
    crasher.send(b"crash\n");
    crasher.expect_loss();
    come(&guests, &mut visits);
    wait_until("three deaths are survived", || {
        Status::of(&place.path()).is_ok_and(|status| status.deaths_survived == 3)
    });
    kept.next();
    come(&guests, &mut visits);
}
