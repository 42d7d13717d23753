//! Whoever connects to the takeover path and does not take over.

use super::failing::Failing;
use crate::harness::{Peer, Place, ScriptedSuccessor, Server, exchange_all, hello};

#[test]
fn caller_that_says_nothing_is_dropped_and_disturbs_nobody() {
    let mut failing = Failing::with_peers(100);
    let mut caller = ScriptedSuccessor::call(&failing.path());
    // Half of a Hello is nothing, too.
    let mut stammering = ScriptedSuccessor::call(&failing.path());
    stammering.send(&hello("seqnum")[..20]);
    exchange_all(&mut failing.peers);
    failing.predecessor.wait_for_lines(2, |line| line.contains("dropped: it said nothing for 2000 ms"));
    for told in [caller.receive(), stammering.receive()] {
        assert_eq!(told.reason(), "it said nothing for 2000 ms", "whoever only had no time is to know why");
    }
    exchange_all(&mut failing.peers);
    failing.end_with_a_takeover();
}

#[test]
fn callers_that_say_nothing_do_not_keep_a_successor_out() {
    let mut failing = Failing::with_peers(100);
    let _silent: Vec<_> = (0..40).map(|_| ScriptedSuccessor::call(&failing.path())).collect();
    let successor = Server::take_over(&failing.path(), "");
    exchange_all(&mut failing.peers);
    let successor = failing.predecessor.taken_over_by(successor);
    exchange_all(&mut failing.peers);
    successor.stop_with(failing.peers);
}

#[test]
fn caller_that_only_connects_and_closes_is_no_news() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "-v");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    for _ in 0..100 {
        drop(ScriptedSuccessor::call(&place.path()));
    }
    exchange_all(&mut peers);
    let gone = format!("Caller pid {} left without a word", std::process::id());
    predecessor.wait_for_lines(100, |line| line.contains(&gone));
    assert_eq!(predecessor.lines_with("WARN"), Vec::<String>::new());
    let successor = predecessor.taken_over("");
    exchange_all(&mut peers);
    successor.stop_with(peers);
}
