//! `reactord move`: some of a server's peers go to another one, and both go on.

use std::path::Path;
use std::process::Command;

use crate::harness::{Peer, Place, Server, daemon, exchange_all, skip};

/// Two servers, and peers of the first.
struct Two {
    place: Place,
    from: Server,
    to: Server,
    peers: Vec<Peer>,
    /// How many files either has open without any.
    files: [usize; 2],
}

impl Two {
    #[track_caller]
    fn with_peers(count: usize) -> Self {
        let place = Place::new();
        let from = Server::serve(&place.path(), "");
        let to = Server::serve(&place.file("to"), "");
        let files = [from.open_files(), to.open_files()];
        let mut peers = Peer::connect_many(from.address(), count);
        exchange_all(&mut peers);
        Self { place, from, to, peers, files }
    }

    /// Has peers moved, and returns what is said of it: on standard output, and on standard error.
    #[track_caller]
    fn moves(&self, which: &[&str], exit_code: i32) -> (String, String) {
        moves(&self.place.path(), &self.place.file("to"), which, exit_code)
    }

    /// All are served, so many of them by the other one, and nothing is left of those where they were.
    #[track_caller]
    fn expect_moved(&mut self, count: usize) {
        exchange_all(&mut self.peers);
        let expected = [self.files[0] + self.peers.len() - count, self.files[1] + count];
        for (server, expected) in [&self.from, &self.to].into_iter().zip(expected) {
            assert!(server.comes_down_to_open_files(expected), "{expected} expected\n{}", server.log());
            assert_eq!(server.open_files(), expected, "{}", server.log());
        }
    }

    /// The other one gets all that are left, and is the last to stop.
    #[track_caller]
    fn stop(mut self) {
        self.moves(&[], 0);
        self.from.stop();
        exchange_all(&mut self.peers);
        self.to.stop_with(self.peers);
    }
}

#[track_caller]
fn moves(from: &Path, to: &Path, which: &[&str], exit_code: i32) -> (String, String) {
    let mut command = daemon();
    command.arg("move").args([from, to]).args(which);
    Server::spawn(Path::new(""), &mut command).output(exit_code)
}

/// What is said when so many of so many have moved.
#[track_caller]
fn assert_says(said: &str, two: &Two, moved: &str) {
    let expected = format!("Moved {moved} from pid {} to pid {} in ", two.from.pid(), two.to.pid());
    assert!(said.starts_with(&expected) && said.contains(" s (largest pause of a batch "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn all_peers_move_unless_it_is_said_which() {
    let mut two = Two::with_peers(150);
    let (said, _) = two.moves(&[], 0);
    assert_says(&said, &two, "150 of 150 peers");
    two.expect_moved(150);
    // Both listen still.
    let [at_first, at_other] = [&two.from, &two.to].map(|server| Peer::connect(server.address()));
    two.peers.extend([at_first, at_other]);
    two.expect_moved(151);
    two.stop();
}

#[test]
fn so_many_peers_move_or_such_a_share_of_them() {
    let mut two = Two::with_peers(100);
    let (said, _) = two.moves(&["--count", "30"], 0);
    assert_says(&said, &two, "30 of 30 peers");
    two.expect_moved(30);
    let (said, _) = two.moves(&["--share", "50%"], 0);
    assert_says(&said, &two, "35 of 35 peers");
    two.expect_moved(65);
    two.stop();
}

#[test]
fn peers_move_by_the_addresses_of_their_clients() {
    let mut two = Two::with_peers(5);
    let addresses = [two.peers[1].address().to_string(), two.peers[3].address().to_string()];
    let (said, _) = two.moves(&["--peer", &addresses[0], "--peer", &addresses[1]], 0);
    assert_says(&said, &two, "2 of 2 peers");
    two.expect_moved(2);
    assert!(two.to.has(&two.peers[1]) && two.to.has(&two.peers[3]));
    two.stop();
}

#[test]
fn fewer_than_were_asked_for_are_moved_and_said_to_be_fewer() {
    let mut two = Two::with_peers(5);
    let (said, why) = two.moves(&["--count", "7"], 3);
    assert_says(&said, &two, "5 of 7 peers");
    assert!(why.contains("ERROR") && why.contains("there were 2 peers too few"), "{why}");
    two.expect_moved(5);
    let (_, why) = two.moves(&["--peer", "127.0.0.1:1"], 3);
    assert!(why.contains("no peer connects from [127.0.0.1]:1"), "{why}");
    two.stop();
}

#[test]
fn peers_stay_where_nobody_can_take_them() {
    let mut two = Two::with_peers(5);
    let (said, why) = moves(&two.place.path(), &two.place.file("nowhere"), &[], 3);
    assert!(said.is_empty() && why.contains("refused: ") && why.contains("nowhere: No such file"), "{why}");
    let file = two.place.file("file");
    std::fs::write(&file, "").unwrap();
    let (_, why) = moves(&two.place.path(), &file, &[], 3);
    assert!(why.contains("file: it is a regular file"), "{why}");
    let line = Server::serve(&two.place.file("line"), "--service line");
    let (_, why) = moves(&two.place.path(), &two.place.file("line"), &[], 3);
    assert!(why.contains("seqnum") && why.contains("line"), "{why}");
    line.stop();
    let (_, why) = moves(&two.place.file("nowhere"), &two.place.path(), &[], 3);
    assert!(why.contains("nowhere: there is no such path"), "{why}");
    two.expect_moved(0);
    two.stop();
}

#[test]
fn peers_half_way_through_a_message_move_and_go_on_at_the_next_byte() {
    let mut two = Two::with_peers(70);
    for (index, peer) in two.peers.iter_mut().enumerate() {
        peer.ask_begin(1 + index % 3);
    }
    two.moves(&[], 0);
    for (index, peer) in two.peers.iter_mut().enumerate() {
        peer.assert_open_and_silent();
        peer.ask_end(1 + index % 3);
    }
    two.peers.iter_mut().for_each(Peer::hear);
    two.expect_moved(70);
    two.stop();
}

#[test]
fn peers_move_to_and_fro_and_to_one_that_only_waits() {
    let mut two = Two::with_peers(70);
    let waiting = Server::wait(&two.place.path(), &format!("-t {}", two.place.file("waiting").display()));
    waiting.wait_for_line(|line| line.contains("Waiting at "));
    let [from, to, last] = [two.place.path(), two.place.file("to"), two.place.file("waiting")];
    for (from, to) in [(&from, &to), (&to, &last), (&last, &from), (&from, &last)] {
        let (said, _) = moves(from, to, &[], 0);
        assert!(said.starts_with("Moved 70 of 70 peers "), "{said}");
        exchange_all(&mut two.peers);
    }
    two.from.stop();
    two.to.stop();
    exchange_all(&mut two.peers);
    waiting.stop_with(two.peers);
}

#[test]
fn one_that_only_waits_is_taken_over_by_another_that_does() {
    let mut two = Two::with_peers(70);
    let (path, at) = (two.place.file("waiting"), two.place.path());
    let waiting = Server::wait(&at, &format!("-t {}", path.display()));
    waiting.wait_for_line(|line| line.contains("Waiting at "));
    moves(&at, &path, &["--count", "40"], 0);
    exchange_all(&mut two.peers);
    let listening = Server::take_over(&path, "");
    let (_, why) = listening.output(3);
    assert!(why.contains("the predecessor has 0 listeners, 1 is expected"), "{why}");
    let successor = waiting.taken_over_by(Server::take_over(&path, &format!("-c {}", at.display())));
    successor.wait_for_line(|line| line.contains("Waiting at "));
    exchange_all(&mut two.peers);
    moves(&at, &path, &[], 0);
    exchange_all(&mut two.peers);
    two.from.stop();
    two.to.stop();
    successor.stop_with(two.peers);
}

#[test]
fn no_peer_is_moved_to_where_the_clock_is_another_one() {
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--time", "--monotonic", "86400"]);
    if !Command::new("unshare").args(["--time", "--monotonic", "86400", "true"]).status().is_ok_and(|s| s.success()) {
        return skip("there are no time namespaces, or only root can have them");
    }
    let place = Place::new();
    let from = Server::serve(&place.path(), "");
    let to = place.file("to");
    let serve = elsewhere.args([env!("CARGO_BIN_EXE_reactord"), "-p", "0", "-t"]).arg(&to);
    let other = Server::spawn(&to, serve).started();
    let mut peers = Peer::connect_many(from.address(), 20);
    exchange_all(&mut peers);
    let (_, why) = moves(&place.path(), &to, &[], 3);
    assert!(why.contains("the clock of the other process shows ") && why.contains("within one"), "{why}");
    exchange_all(&mut peers);
    other.stop();
    from.stop_with(peers);
}
