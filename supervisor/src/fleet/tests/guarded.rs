//! Workers that have standbys.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use nix::sys::signal::Signal;

use super::super::guard::PATIENCE;
use super::super::*;
use crate::config::{Ready, Replace, Supply};

const WORKER: WorkerId = WorkerId(1);
const KILLED: Exit = Exit::Signal(Signal::SIGKILL);

/// A fleet of one worker, pid 70, that has a standby, pid 71, and has taken connection 1; 2, 3 and 4 are under way.
fn guarded(now: Instant) -> Fleet {
    let rules = Rules {
        supply: Supply::Queue,
        ready: Ready::Notify,
        finish_signal: Signal::SIGTERM,
        replace: Replace::Takeover,
        ready_timeout: Duration::from_secs(30),
        drain_timeout: Duration::from_secs(60),
        rebalance: false,
    };
    let mut fleet = Fleet::new(rules, 1);
    fleet.advance(now);
    assert!(matches!(fleet.next_action(), Some(Action::Start { worker: WORKER, .. })));
    fleet.launched(WORKER, 70);
    say(&mut fleet, FromWorker::Ready { version: 2 }, now);
    say(&mut fleet, FromWorker::Want(NonZeroU32::new(9).unwrap()), now);
    (1..=4).for_each(|number| fleet.enqueue(connection(number)));
    let sent = std::iter::from_fn(|| fleet.hand_out()).count();
    assert_eq!(sent, 4);
    assert_eq!(say(&mut fleet, FromWorker::Took(connection(1)), now), Heard::Took(connection(1)));
    say(&mut fleet, FromWorker::Standby(71), now);
    reports(&mut fleet);
    fleet
}

fn connection(number: u64) -> ConnectionId {
    ConnectionId::from_number(number).unwrap()
}

fn say(fleet: &mut Fleet, said: FromWorker, now: Instant) -> Heard {
    fleet.hear(WORKER, said, now).unwrap_or_else(|breach| panic!("{said}: {breach}"))
}

fn reports(fleet: &mut Fleet) -> Vec<String> {
    let actions = std::iter::from_fn(|| fleet.next_action());
    actions
        .filter_map(|action| if let Action::Report(report) = action { Some(report.to_string()) } else { None })
        .collect()
}

#[test]
fn a_worker_goes_on_in_another_process_whether_its_death_is_known_before_or_afterwards() {
    for is_known_before in [true, false] {
        let now = Instant::now();
        let mut fleet = guarded(now);
        if is_known_before {
            assert!(fleet.may_survive(WORKER, &KILLED, now));
            assert_eq!(fleet.hand_out(), None, "what it had asked for is void");
        }
        // It has taken 2 and said so, has taken 3, and has not taken 4.
        assert_eq!(say(&mut fleet, FromWorker::Took(connection(2)), now), Heard::Took(connection(2)));
        assert_eq!(say(&mut fleet, FromWorker::Has(connection(2)), now), Heard::Noted);
        assert_eq!(say(&mut fleet, FromWorker::Has(connection(3)), now), Heard::Took(connection(3)));
        let gone = BTreeSet::from([connection(1)]);
        assert_eq!(say(&mut fleet, FromWorker::Survived, now), Heard::Survived(gone));
        if !is_known_before {
            assert!(fleet.awaits_survivors());
            assert_eq!(fleet.former_ended(70, &KILLED), Some(WORKER));
        }
        assert!(!fleet.awaits_survivors() && fleet.take_lost(|_| true, now + PATIENCE).is_empty());
        assert_eq!([fleet.take_survivors(), fleet.take_survivors()], [vec![WORKER], Vec::new()]);
        let told = reports(&mut fleet);
        assert_eq!(told, ["Worker pid 70 of generation 1 was killed by SIGKILL; its standby, pid 71, serves on"]);
        assert_eq!((fleet.pid(WORKER), fleet.group(WORKER), fleet.workers()), (Some(71), Some(70), 1));
        assert_eq!((fleet.share(WORKER), fleet.waiting()), (2, 1), "4 waits again");
        assert_eq!(fleet.hand_out(), None, "it has asked for nothing");
        say(&mut fleet, FromWorker::Want(NonZeroU32::MIN), now);
        assert_eq!(fleet.hand_out(), Some((WORKER, connection(4))));
        for number in [2, 3] {
            say(&mut fleet, FromWorker::Done(connection(number)), now);
        }
        assert_eq!(fleet.hear(WORKER, FromWorker::Survived, now), Err(Breach::NoStandby(FromWorker::Survived)));
    }
}

#[test]
fn one_after_the_other_may_die_before_any_death_is_known() {
    let now = Instant::now();
    let mut fleet = guarded(now);
    say(&mut fleet, FromWorker::Survived, now);
    say(&mut fleet, FromWorker::Standby(72), now);
    // Whose end is heard of first is not certain.
    assert_eq!(fleet.with_pid(71), Some(WORKER));
    assert!(fleet.may_survive(WORKER, &KILLED, now));
    assert_eq!(fleet.former_ended(70, &KILLED), Some(WORKER));
    say(&mut fleet, FromWorker::Survived, now);
    assert_eq!(fleet.pid(WORKER), Some(72));
    assert_eq!(reports(&mut fleet).len(), 2);
}

#[test]
fn a_worker_is_lost_when_its_standby_leaves_or_says_nothing() {
    let now = Instant::now();
    for has_queue in [true, false] {
        let mut fleet = guarded(now);
        assert!(fleet.may_survive(WORKER, &KILLED, now));
        assert_eq!(fleet.take_lost(|_| true, now), []);
        assert!(fleet.deadline().is_some_and(|deadline| deadline <= now + PATIENCE));
        let later = if has_queue { now + PATIENCE } else { now };
        let standby = has_queue.then_some(71);
        let lost = fleet.take_lost(|_| has_queue, later);
        assert_eq!(lost, [Lost { worker: WORKER, exit: KILLED, standby }]);
        fleet.exited(WORKER, KILLED, later);
        assert_eq!(fleet.waiting(), 3);
        assert!(reports(&mut fleet)[0].contains("was killed by SIGKILL; it is replaced"));
    }
}

#[test]
fn a_worker_is_lost_whose_standby_says_that_it_serves_on_while_the_process_before_it_lives() {
    let now = Instant::now();
    let mut fleet = guarded(now);
    say(&mut fleet, FromWorker::Survived, now);
    // Again, for another one that is nobody's.
    let later = now + PATIENCE / 2;
    say(&mut fleet, FromWorker::Standby(72), later);
    say(&mut fleet, FromWorker::Survived, later);
    assert!(fleet.awaits_survivors());
    assert_eq!(fleet.take_lost(|_| true, now + PATIENCE - Duration::from_millis(1)), []);
    let due = fleet.deadline().expect("it is not waited for ever");
    assert_eq!((due, fleet.overdue(due)), (now + PATIENCE, vec![WORKER]));
    let reason = "its standby says that it serves on, and pid 70 has not ended".to_owned();
    let lost = fleet.take_lost(|_| true, due);
    assert_eq!(lost, [Lost { worker: WORKER, exit: Exit::QueueEnded(reason), standby: None }]);
    assert!(!fleet.awaits_survivors() && fleet.take_survivors().is_empty() && fleet.was_guarded(WORKER));
}

#[test]
fn who_has_no_standby_any_more_is_not_waited_for() {
    let now = Instant::now();
    let mut fleet = guarded(now);
    say(&mut fleet, FromWorker::Standby(0), now);
    assert!(!fleet.may_survive(WORKER, &KILLED, now) && fleet.was_guarded(WORKER));
    // It has what it says that it has all the same, once; and so it is where that is heard at the end of its queue.
    let said = FromWorker::Has(connection(3));
    assert_eq!(say(&mut fleet, said, now), Heard::Took(connection(3)), "it is let go here");
    for said in [said, FromWorker::Survived] {
        assert_eq!(fleet.hear(WORKER, said, now), Err(Breach::NoStandby(said)));
    }
    assert_eq!(fleet.change_hands(WORKER, FromWorker::Has(connection(4))), Ok(Heard::Took(connection(4))));
    let mut held: Vec<_> = fleet.cut_off(WORKER).into_iter().collect();
    held.sort_unstable();
    assert!(held.ends_with(&[connection(3), connection(4)]), "nobody else gets them: {held:?}");
    // It may be heard only afterwards that there is none.
    let mut fleet = guarded(now);
    assert!(fleet.may_survive(WORKER, &Exit::Code(0), now));
    say(&mut fleet, FromWorker::Standby(0), now);
    assert_eq!(fleet.take_lost(|_| true, now), [Lost { worker: WORKER, exit: Exit::Code(0), standby: None }]);
}

/// A fleet whose worker another one is to take over from: who that is.
fn guarded_and_to_be_replaced(now: Instant) -> (Fleet, WorkerId) {
    let mut fleet = guarded(now);
    fleet.replace(now);
    fleet.advance(now);
    let taker = std::iter::from_fn(|| fleet.next_action()).find_map(|action| match action {
        Action::Start { worker, .. } => Some(worker),
        _ => None,
    });
    let taker = taker.expect("one is to take over");
    fleet.launched(taker, 80);
    (fleet, taker)
}

#[test]
fn a_worker_that_is_killed_while_another_takes_over_is_served_on_for_whichever_end_is_known_first() {
    for is_known_first in [true, false] {
        let now = Instant::now();
        let (mut fleet, taker) = guarded_and_to_be_replaced(now);
        if is_known_first {
            assert!(fleet.may_survive(WORKER, &KILLED, now));
            fleet.exited(taker, Exit::Code(3), now);
        } else {
            fleet.exited(taker, Exit::Code(3), now);
            assert!(fleet.may_survive(WORKER, &KILLED, now));
        }
        assert!(!fleet.is_moving(), "nobody can say whether it hangs");
        fleet.advance(now);
        let late = now + PATIENCE - Duration::from_millis(1);
        fleet.advance(late);
        assert_eq!(fleet.workers(), 1, "nobody takes its place");
        say(&mut fleet, FromWorker::Survived, late);
        fleet.advance(late);
        assert!(!fleet.finishes(WORKER));
        assert_eq!((fleet.pid(WORKER), fleet.serving(), fleet.coming()), (Some(71), 1, None));
    }
}

#[test]
fn what_a_worker_was_asked_before_it_died_is_not_waited_for() {
    let now = Instant::now();
    let (mut fleet, taker) = guarded_and_to_be_replaced(now);
    fleet.exited(taker, Exit::Code(3), now);
    fleet.advance(now);
    assert!(fleet.is_moving(), "it is asked whether it hangs");
    say(&mut fleet, FromWorker::Survived, now);
    assert!(!fleet.is_moving());
    let asked = std::iter::from_fn(|| fleet.next_action()).filter(|action| matches!(action, Action::Count { .. }));
    assert_eq!(asked.count(), 0, "it would answer what is not waited for");
    fleet.advance(now + Duration::from_secs(60));
    let started = std::iter::from_fn(|| fleet.next_action()).filter(|action| matches!(action, Action::Start { .. }));
    assert_eq!(started.count(), 0, "nobody takes its place");
}

#[test]
fn another_binary_knows_who_guards_whom() {
    let now = Instant::now();
    let mut fleet = guarded(now);
    say(&mut fleet, FromWorker::Has(connection(3)), now);
    let record = minicbor::to_vec(fleet.record(now)).unwrap();
    let rules = fleet.roster.rules;
    let mut again = Fleet::from_record(minicbor::decode(&record).unwrap(), rules, now);
    assert_eq!(again.group(WORKER), Some(70));
    assert!(again.roster.get(WORKER).is_some_and(|worker| worker.crew == Crew::Current));
    say(&mut again, FromWorker::Survived, now);
    assert_eq!((again.pid(WORKER), again.share(WORKER)), (Some(71), 1));
}
