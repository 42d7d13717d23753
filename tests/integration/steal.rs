//! A client says STEAL, and its next line is answered by another process, which has waited for it.
//!
//! The system after which this is made has each of these faults, so each is a test: what is said in another way or at another
//! moment, what is pending, who dies when, what is left over, who comes first.

use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::{PATIENCE, Peer, Place, Server, caller_sees_pid, lines};

const NOBODY_WAITS: &[u8] = b"nobody is waiting\n";

/// A server whose clients may be stolen, by how many files it has open without any.
struct Giver {
    place: Place,
    server: Server,
    files: usize,
}

impl Giver {
    #[track_caller]
    fn serve() -> Self {
        let place = Place::new();
        let server = Server::serve(&place.path(), "--service line --steal -v");
        let files = server.open_files();
        Self { place, server, files }
    }

    /// A client that is served.
    #[track_caller]
    fn peer(&self) -> Peer {
        let peer = Peer::connect(self.server.address());
        exchange(&peer, b"served\n");
        peer
    }

    /// Somebody who waits, as this server knows.
    #[track_caller]
    fn waiting(&self) -> Server {
        let taker = Server::wait(&self.place.path(), "-v");
        self.hears(&taker, 1);
        taker
    }

    /// Waits until it has heard so many times that this one waits.
    #[track_caller]
    fn hears(&self, taker: &Server, times: usize) {
        let waits = format!("Pid {} waits to be given peers", taker.pid());
        self.server.wait_for_lines(times, |line| line.contains(&waits));
    }

    /// The peer is the other one's now, and nothing of it is left here.
    #[track_caller]
    fn has_given(&self, peer: &Peer, taker: &Server) {
        assert!(taker.has(peer), "{}\n{}", self.server.log(), taker.log());
        self.server.lets_go_of(peer);
    }

    /// It stops with these peers, and has had no file open besides.
    #[track_caller]
    fn stop_with(self, peers: Vec<Peer>, takers: &[&Server]) {
        let expected = self.files + peers.len() + takers.len();
        assert!(self.server.comes_down_to_open_files(expected), "{expected} expected\n{}", self.server.log());
        self.server.stop_with(peers);
    }
}

/// Sends a line, and gets it back.
#[track_caller]
fn exchange(peer: &Peer, line: &[u8]) {
    peer.send(line);
    peer.expect(line);
}

/// Waits until the server has read all that was sent.
#[track_caller]
fn wait_until_read(peer: &Peer) {
    let deadline = Instant::now() + PATIENCE;
    while peer.server_end().is_some_and(|end| end.rx_queue > 0) {
        assert!(Instant::now() < deadline, "nobody reads what {} has sent", peer.address());
        std::thread::yield_now();
    }
}

/// Stops one that waits, with its peers.
#[track_caller]
fn stop_waiting(taker: Server, peers: Vec<Peer>) {
    taker.stop_with(peers);
}

/// What a client says, in several segments, and what is answered by then, to end as the taker's.
#[track_caller]
fn is_stolen_by(segments: &[&[u8]], answers: &[u8]) {
    let giver = Giver::serve();
    let (taker, peer) = (giver.waiting(), giver.peer());
    for segment in segments {
        peer.send(segment);
        wait_until_read(&peer);
    }
    peer.expect(answers);
    exchange(&peer, b"and on\n");
    giver.has_given(&peer, &taker);
    let said = taker.wait_for_line(|line| line.contains("Was given "));
    assert!(said.contains(&format!("Was given 1 peer by pid {}", giver.server.pid())), "{said}");
    giver.stop_with(vec![], &[&taker]);
    exchange(&peer, b"though the giver is gone\n");
    stop_waiting(taker, vec![peer]);
}

#[test]
fn line_after_steal_is_answered_by_whoever_has_waited() {
    is_stolen_by(&[b"STEAL\n"], b"");
}

#[test]
fn steal_in_any_case_is_one() {
    is_stolen_by(&[b"steal\n"], b"");
    is_stolen_by(&[b"StEaL\n"], b"");
}

#[test]
fn steal_split_over_two_segments_is_one() {
    is_stolen_by(&[b"STE", b"AL\n"], b"");
    is_stolen_by(&[b"STEAL", b"\n"], b"");
}

#[test]
fn bytes_after_steal_in_its_segment_are_answered_by_the_new_owner() {
    is_stolen_by(&[b"before\nSTEAL\nafter\nhalf a", b" line\n"], b"before\nafter\nhalf a line\n");
}

#[test]
fn bytes_above_127_before_and_after_steal_come_back_as_they_are() {
    is_stolen_by(&[b"\xff\x80\xc3\n", b"STEAL\n\x80\xfe", b"\xff\x00\n"], b"\xff\x80\xc3\n\x80\xfe\xff\x00\n");
}

#[test]
fn what_only_begins_or_ends_like_steal_is_echoed() {
    let giver = Giver::serve();
    let (taker, peer) = (giver.waiting(), giver.peer());
    for line in
        [&b"STEALING\n"[..], b" STEAL\n", b"STEAL \n", b"STEA\n", b"TEAL\n", b"STEAL\xff\n", b"\xd3TEAL\n", b"\n"]
    {
        exchange(&peer, line);
    }
    assert!(giver.server.has(&peer));
    giver.stop_with(vec![peer], &[&taker]);
    stop_waiting(taker, vec![]);
}

#[test]
fn steal_is_an_ordinary_line_unless_it_is_asked_for() {
    let place = Place::new();
    let server = Server::serve(&place.path(), "--service line");
    let peer = Peer::connect(server.address());
    exchange(&peer, b"STEAL\n");
    server.stop_with([peer]);
}

#[test]
fn steal_with_nobody_waiting_is_answered_and_nothing_else_happens() {
    let giver = Giver::serve();
    let peer = giver.peer();
    peer.send(b"STEAL\nsteal\nafter\n");
    peer.expect(&[NOBODY_WAITS, NOBODY_WAITS, b"after\n"].concat());
    // Whoever comes later has not been promised anybody.
    let taker = giver.waiting();
    exchange(&peer, b"still here\n");
    assert!(giver.server.has(&peer) && !taker.has(&peer));
    giver.stop_with(vec![peer], &[&taker]);
    stop_waiting(taker, vec![]);
}

#[test]
fn two_steals_in_a_row_go_to_the_two_who_have_waited_longest_in_their_order() {
    let giver = Giver::serve();
    let [first, second] = [giver.waiting(), giver.waiting()];
    let peers = [giver.peer(), giver.peer()];
    for (peer, taker) in peers.iter().zip([&first, &second]) {
        exchange(peer, b"my turn\n");
        peer.send(b"STEAL\n");
        exchange(peer, b"next\n");
        giver.has_given(peer, taker);
        // It waits again, behind the other.
        giver.hears(taker, 2);
    }
    let peer = giver.peer();
    peer.send(b"STEAL\n");
    exchange(&peer, b"the first one's turn again\n");
    giver.has_given(&peer, &first);
    giver.stop_with(vec![], &[&first, &second]);
    let [of_first, of_second] = peers;
    stop_waiting(first, vec![of_first, peer]);
    stop_waiting(second, vec![of_second]);
}

#[test]
fn second_steal_of_one_client_is_the_new_owners_affair() {
    let giver = Giver::serve();
    let taker = Server::wait(&giver.place.path(), "--service line --steal");
    giver.hears(&taker, 1);
    let peer = giver.peer();
    peer.send(b"STEAL\nSTEAL\nafter\n");
    peer.expect(&[NOBODY_WAITS, b"after\n"].concat());
    giver.has_given(&peer, &taker);
    giver.stop_with(vec![], &[&taker]);
    stop_waiting(taker, vec![peer]);
}

#[test]
fn client_is_stolen_again_from_whoever_stole_it() {
    let giver = Giver::serve();
    let path = giver.place.file("of-the-taker");
    let taker = Server::wait(&giver.place.path(), &format!("-t {} --service line --steal -v", path.display()));
    giver.hears(&taker, 1);
    let last = Server::wait(&path, "");
    let waits = format!("Pid {} waits to be given peers", last.pid());
    taker.wait_for_line(|line| line.contains(&waits));
    let peer = giver.peer();
    peer.send(b"STEAL\nSTEAL\nafter\n");
    peer.expect(b"after\n");
    giver.has_given(&peer, &last);
    taker.lets_go_of(&peer);
    giver.stop_with(vec![], &[&taker]);
    taker.stop();
    exchange(&peer, b"whoever else is gone\n");
    stop_waiting(last, vec![peer]);
}

#[test]
fn two_clients_at_once_are_both_stolen() {
    let giver = Giver::serve();
    let [one, other] = [giver.waiting(), giver.waiting()];
    let peers = [giver.peer(), giver.peer()];
    // Both are there when the server goes on.
    assert!(giver.server.suspend());
    peers.iter().for_each(|peer| peer.send(b"STEAL\nafter\n"));
    giver.server.resume();
    for peer in &peers {
        peer.expect(b"after\n");
        giver.server.lets_go_of(peer);
    }
    let of_one = peers.iter().filter(|peer| one.has(peer)).count();
    assert_eq!((of_one, peers.iter().filter(|peer| other.has(peer)).count()), (1, 1));
    giver.stop_with(vec![], &[&one, &other]);
    let (of_one, of_other): (Vec<Peer>, Vec<Peer>) = peers.into_iter().partition(|peer| one.has(peer));
    stop_waiting(one, of_one);
    stop_waiting(other, of_other);
}

#[test]
fn of_two_clients_at_once_neither_is_lost_where_one_waits() {
    let giver = Giver::serve();
    let taker = giver.waiting();
    let peers = [giver.peer(), giver.peer()];
    assert!(giver.server.suspend());
    peers.iter().for_each(|peer| peer.send(b"STEAL\nafter\n"));
    giver.server.resume();
    let mut kept = Vec::new();
    let mut stolen = Vec::new();
    for peer in peers {
        // It depends on who waits again, and how soon.
        if peer.receive(1) == b"n" {
            peer.expect(&[&NOBODY_WAITS[1..], b"after\n"].concat());
            kept.push(peer);
        } else {
            peer.expect(b"fter\n");
            giver.has_given(&peer, &taker);
            stolen.push(peer);
        }
    }
    assert!(!stolen.is_empty(), "{}", giver.server.log());
    kept.iter().chain(&stolen).for_each(|peer| exchange(peer, b"and on\n"));
    giver.stop_with(kept, &[&taker]);
    stop_waiting(taker, stolen);
}

#[test]
fn client_with_unsent_output_gets_every_byte_from_whoever_has_it() {
    let giver = Giver::serve();
    let (taker, peer) = (giver.waiting(), giver.peer());
    peer.keep_little();
    let (before, after) = (lines(1, 12 * 1024 * 1024), lines(2, 1024 * 1024));
    let asked = [&before[..], b"steal\n", &after].concat();
    // It does not read, so the server has more for it than anybody takes when it comes to the word.
    let sent = peer.send_until_stuck(&giver.server, &asked);
    std::thread::scope(|scope| {
        scope.spawn(|| peer.send(&asked[sent..]));
        peer.expect(&[before, after].concat());
    });
    exchange(&peer, b"and on\n");
    giver.has_given(&peer, &taker);
    giver.stop_with(vec![], &[&taker]);
    stop_waiting(taker, vec![peer]);
}

#[test]
fn half_closed_client_is_stolen_with_its_answers() {
    let giver = Giver::serve();
    let (taker, peer) = (giver.waiting(), giver.peer());
    peer.send(b"STEAL\nafter\nhalf a line");
    peer.end_sending();
    peer.expect(b"after\n");
    peer.expect_end();
    taker.wait_for_line(|line| line.contains("Was given 1 peer "));
    drop(peer);
    giver.stop_with(vec![], &[&taker]);
    stop_waiting(taker, vec![]);
}

#[test]
fn one_that_was_killed_while_it_waited_is_not_given_anybody() {
    let giver = Giver::serve();
    let (killed, peer) = (giver.waiting(), giver.peer());
    killed.kill();
    // Whether or not the server has noticed.
    peer.send(b"STEAL\n");
    peer.expect(NOBODY_WAITS);
    let taker = giver.waiting();
    peer.send(b"STEAL\n");
    exchange(&peer, b"next\n");
    giver.has_given(&peer, &taker);
    giver.stop_with(vec![], &[&taker]);
    stop_waiting(taker, vec![peer]);
}

#[test]
fn client_of_one_that_was_killed_while_it_waited_goes_to_the_next() {
    let giver = Giver::serve();
    let [killed, taker] = [giver.waiting(), giver.waiting()];
    let peer = giver.peer();
    assert!(giver.server.suspend());
    peer.send(b"STEAL\nafter\n");
    killed.kill();
    giver.server.resume();
    peer.expect(b"after\n");
    giver.has_given(&peer, &taker);
    giver.stop_with(vec![], &[&taker]);
    stop_waiting(taker, vec![peer]);
}

#[test]
fn one_that_is_killed_afterwards_takes_with_it_what_it_was_given_and_nobody_else() {
    let giver = Giver::serve();
    let (taker, stolen, other) = (giver.waiting(), giver.peer(), giver.peer());
    stolen.send(b"STEAL\n");
    exchange(&stolen, b"next\n");
    giver.has_given(&stolen, &taker);
    taker.kill();
    stolen.expect_loss();
    exchange(&other, b"unharmed\n");
    other.send(b"STEAL\n");
    other.expect(NOBODY_WAITS);
    giver.stop_with(vec![other], &[]);
}

#[test]
fn server_that_is_killed_afterwards_leaves_the_stolen_to_whoever_has_it() {
    let giver = Giver::serve();
    let (taker, stolen, other) = (giver.waiting(), giver.peer(), giver.peer());
    stolen.send(b"STEAL\nhalf a line");
    giver.hears(&taker, 2);
    giver.server.kill();
    other.expect_loss();
    stolen.send(b", and its end\n");
    stolen.expect(b"half a line, and its end\n");
    assert!(giver.place.path().exists(), "a crash leaves the path");

    // It waits for whoever serves there next, whose path is left over from a crash.
    let next = Server::serve(&giver.place.path(), "--service line --steal -v");
    taker.wait_for_lines(2, |line| line.contains("Waiting at "));
    let waits = format!("Pid {} waits to be given peers", taker.pid());
    next.wait_for_line(|line| line.contains(&waits));
    let another = Peer::connect(next.address());
    another.send(b"STEAL\n");
    exchange(&another, b"next\n");
    assert!(taker.has(&another), "{}", taker.log());
    exchange(&stolen, b"and on\n");
    assert_eq!(caller_sees_pid(&giver.place.path()), next.pid());
    next.stop();
    stop_waiting(taker, vec![stolen, another]);
}

#[test]
fn either_may_be_started_first() {
    let place = Place::new();
    let taker = Server::wait(&place.path(), "");
    let told = taker.wait_for_line(|line| line.contains("Nobody answers at "));
    assert!(told.contains(&place.path().display().to_string()), "{told}");
    let server = Server::serve(&place.path(), "--service line --steal -v");
    let waits = format!("Pid {} waits to be given peers", taker.pid());
    server.wait_for_line(|line| line.contains(&waits));
    assert_eq!(taker.lines_with("Nobody answers at ").len(), 1, "one line is enough\n{}", taker.log());
    let peer = Peer::connect(server.address());
    peer.send(b"STEAL\n");
    exchange(&peer, b"next\n");
    assert!(taker.has(&peer));
    server.stop();
    stop_waiting(taker, vec![peer]);
}

#[test]
fn one_that_waits_at_a_path_left_over_from_a_crash_calls_again() {
    let place = Place::new();
    let crashed = Server::serve(&place.path(), "--service line --steal");
    crashed.kill();
    let taker = Server::wait(&place.path(), "");
    taker.wait_for_line(|line| line.contains("Nobody answers at "));
    let server = Server::serve(&place.path(), "--service line --steal");
    taker.wait_for_line(|line| line.contains("Waiting at "));
    server.stop();
    stop_waiting(taker, vec![]);
}

#[test]
fn server_that_is_taken_over_still_gives_to_whoever_waits() {
    let giver = Giver::serve();
    let (taker, peer, other) = (giver.waiting(), giver.peer(), giver.peer());
    let Giver { place, server, .. } = giver;
    let successor = server.taken_over("-v");
    let waits = format!("Pid {} waits to be given peers", taker.pid());
    successor.wait_for_line(|line| line.contains(&waits));
    peer.send(b"STEAL\nafter\n");
    peer.expect(b"after\n");
    assert!(taker.has(&peer), "{}", taker.log());
    successor.lets_go_of(&peer);
    exchange(&other, b"unharmed\n");
    assert_eq!(caller_sees_pid(&place.path()), successor.pid());
    successor.stop_with([other]);
    stop_waiting(taker, vec![peer]);
}

#[test]
fn one_that_waits_stops_when_it_is_told_to_and_its_server_goes_on() {
    let giver = Giver::serve();
    let (taker, peer) = (giver.waiting(), giver.peer());
    taker.signal(Signal::SIGTERM);
    assert_eq!(taker.exit_code(), 0, "{}", taker.log());
    peer.send(b"STEAL\n");
    peer.expect(NOBODY_WAITS);
    giver.stop_with(vec![peer], &[]);
}
