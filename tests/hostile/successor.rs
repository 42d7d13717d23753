//! Successors that offer too little, or far too much.

use crate::harness::wire::hello_offering;
use crate::harness::{ScriptedSuccessor, kind};
use crate::integration::failing::Failing;

/// More than fit in a log line, and no more than fit in a Hello.
const NAMES: usize = 4_000;

/// How long a line may be of whatever a caller says.
const LINE_BYTES_MAX: usize = 1000;

#[test]
fn successor_that_offers_nothing_or_anything_is_refused_in_one_line() {
    let mut failing = Failing::with_peers(10);
    for (offered, told) in [(vec![], "nothing"), (vec!["no"; NAMES], "no, no, no")] {
        let mut successor = ScriptedSuccessor::call(&failing.path());
        successor.send(&hello_offering(&offered));
        let reason = format!("the predecessor serves seqnum, the successor offers {told}");
        failing.expect_failure(&reason);
        let heard = successor.receive().reason();
        assert!(heard.starts_with(&reason) && heard.len() < LINE_BYTES_MAX, "{heard}");
        let longest = failing.predecessor.lines_with("WARN").iter().map(String::len).max();
        assert!(longest < Some(LINE_BYTES_MAX), "{longest:?} bytes");
    }
    failing.end_with_a_takeover();
}

#[test]
fn successor_that_offers_a_service_thousands_of_times_offers_it() {
    let failing = Failing::with_peers(10);
    let mut successor = ScriptedSuccessor::call(&failing.path());
    successor.send(&hello_offering(&["seqnum"; 3_000]));
    assert_eq!(successor.receive().kind, kind::WELCOME);
    drop(successor);
    failing.predecessor.wait_for_line(|line| line.contains("WARN") && line.contains("serving on with 10 peers"));
    failing.end_with_a_takeover();
}

#[test]
fn successor_that_offers_more_than_a_frame_may_hold_is_not_heard() {
    let mut failing = Failing::with_peers(10);
    let mut successor = ScriptedSuccessor::call(&failing.path());
    let hello = hello_offering(&["seqnum"; 10_000]);
    // It may be gone before it has read all that.
    let _ = successor.try_send(&hello);
    let announced = hello.len() - 9;
    failing.expect_failure(&format!("a frame announces {announced} bytes, at most 65536 are allowed"));
    while successor.try_receive().is_some() {}
    failing.end_with_a_takeover();
}
