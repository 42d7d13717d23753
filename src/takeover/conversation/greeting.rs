//! The greeting: who is welcomed, and what those who are not are told.

use reactord_process::channel::TO_SUCCESSOR_BYTES_MAX;
use reactord_process::frame::RawFrame;

use super::super::admission::{Estate, Refusal, greet};
use super::super::successor::{Called, Objection};
use super::super::wire::{Frame, Hello, Lane, Offer, Versions, Welcome};
use super::world::{FILES_RESERVED, PREDECESSOR_PID, estate, hello, offers};
use crate::build_id::BUILD;

#[test]
fn a_caller_that_fits_is_welcomed() {
    let expected = Welcome {
        generation: 0,
        has_secrets: false,
        wire_version: 1,
        build: BUILD.to_owned(),
        pid: PREDECESSOR_PID,
        lanes: vec![Lane { service: "seqnum".to_owned(), state_version: 2, peers: 5 }],
    };
    assert_eq!(greet(&hello(), &estate(5), PREDECESSOR_PID), Ok(expected.clone()));
    let (called, _) = Called::new(None, offers(), 20_000, 7);
    assert_eq!(called.hear(Frame::Welcome(expected.clone())), Ok(expected));
}

#[test]
fn a_service_that_is_offered_twice_is_looked_for_in_both_offers() {
    let offer = |oldest, newest| Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest, newest } };
    for services in [vec![offer(3, 4), offer(2, 2)], vec![offer(2, 2), offer(3, 4)]] {
        assert!(greet(&Hello { services, ..hello() }, &estate(5), PREDECESSOR_PID).is_ok());
    }
}

#[test]
fn a_caller_that_does_not_fit_is_told_both_sides_of_the_reason() {
    let newer = Versions { oldest: 2, newest: 3 };
    let other = vec![Offer { service: "other".to_owned(), state_versions: newer }];
    let state = vec![Offer { service: "seqnum".to_owned(), state_versions: Versions { oldest: 3, newest: 4 } }];
    let refused = [
        (
            Hello { wire_versions: newer, ..hello() },
            "the successor speaks wire versions 2 to 3, the predecessor 1 to 1",
        ),
        (Hello { services: other, ..hello() }, "the predecessor serves seqnum, the successor offers other"),
        (Hello { services: Vec::new(), ..hello() }, "the predecessor serves seqnum, the successor offers nothing"),
        (Hello { services: state, ..hello() }, "seqnum has state version 2, the successor restores versions 3 to 4"),
        (Hello { files_max: 1024, ..hello() }, "the successor may open 1024 files, 19039 are needed"),
        (
            Hello { files_open: u64::MAX, ..hello() },
            "the successor may open 20000 files, 18446744073709551615 are needed",
        ),
    ];
    for (hello, reason) in refused {
        let refusal = greet(&hello, &estate(19_000), PREDECESSOR_PID).unwrap_err();
        assert_eq!(refusal.to_string(), reason);
        assert_eq!(heard_by_caller(&refusal), Objection::Refused { reason: reason.to_owned() });
    }
}

#[test]
fn a_caller_that_does_not_run_all_services_is_told_of_all() {
    let estates = [("seqnum", 2), ("line", 1), ("other", 1)].map(|(service, state_version)| Estate {
        service,
        state_version,
        peers: 4,
    });
    let welcome = greet(&hello(), &estates[..2], PREDECESSOR_PID).unwrap();
    let lanes: Vec<(&str, u64)> = welcome.lanes.iter().map(|lane| (&*lane.service, lane.peers)).collect();
    assert_eq!(lanes, [("seqnum", 4), ("line", 4)], "what it offers besides is its own matter");
    let refusal = greet(&hello(), &estates, PREDECESSOR_PID).unwrap_err();
    assert_eq!(refusal.to_string(), "the predecessor serves seqnum, line, other, the successor offers line, seqnum");
    let files_max = 7 + FILES_RESERVED + 7;
    let refusal = greet(&Hello { files_max, ..hello() }, &estates[..2], PREDECESSOR_PID);
    assert_eq!(refusal, Err(Refusal::Room { files_max, files_needed: files_max + 1 }), "for the peers of all lanes");
}

fn heard_by_caller(refusal: &Refusal) -> Objection {
    let mut bytes = refusal.frame();
    let raw = RawFrame::take(&mut bytes, TO_SUCCESSOR_BYTES_MAX).unwrap().unwrap();
    let (called, _) = Called::new(None, offers(), 20_000, 7);
    called.hear(raw.decode().unwrap()).unwrap_err()
}

#[test]
fn the_other_refusals_name_whom_and_whose() {
    assert_eq!(Refusal::Busy { pid: 123 }.to_string(), "pid 123 is taking over already");
    assert_eq!(Refusal::Stopping.to_string(), "the predecessor is stopping");
}

#[test]
fn room_for_exactly_what_is_needed_suffices() {
    let hello = |files_max| Hello { files_max, ..hello() };
    let files_needed = 7 + FILES_RESERVED + 100;
    assert!(greet(&hello(files_needed), &estate(100), PREDECESSOR_PID).is_ok());
    let files_max = files_needed - 1;
    let refusal = greet(&hello(files_max), &estate(100), PREDECESSOR_PID);
    assert_eq!(refusal, Err(Refusal::Room { files_max, files_needed }));
}

#[test]
fn a_refusal_stays_one_line_whatever_the_caller_offers() {
    let offer = Offer { service: "evil\n\x1b[2J".repeat(50), state_versions: Versions { oldest: 0, newest: 0 } };
    let refusal = greet(&Hello { services: vec![offer; 50], ..hello() }, &estate(0), PREDECESSOR_PID).unwrap_err();
    let line = refusal.to_string();
    assert!(!line.chars().any(char::is_control));
    assert!(line.len() < 600, "{} bytes", line.len());
}

#[test]
fn a_welcome_to_what_was_not_offered_is_a_fault() {
    let welcome = greet(&hello(), &estate(5), PREDECESSOR_PID).unwrap();
    let hear = |welcome| Called::new(None, offers(), 20_000, 7).0.hear(Frame::Welcome(welcome)).unwrap_err();
    for wire_version in [0, 2, u32::MAX] {
        let objection = hear(Welcome { wire_version, ..welcome.clone() });
        assert_eq!(objection, Objection::WireVersion { wire_version });
        assert!(objection.to_string().contains(&wire_version.to_string()));
    }
    // The line service was offered, but not in version 2.
    for (service, state_version) in [("other", 1), ("seqnum", 0), ("seqnum", 3), ("line", 2)] {
        let lane = Lane { service: service.to_owned(), state_version, peers: 5 };
        for lanes in [vec![lane.clone()], [&welcome.lanes[..], &[lane]].concat()] {
            let objection = hear(Welcome { lanes, ..welcome.clone() });
            assert_eq!(objection, Objection::Service { service: service.to_owned(), state_version });
        }
    }
    let lines = Lane { service: "line".to_owned(), state_version: 1, peers: 0 };
    for lanes in [Vec::new(), vec![lines.clone(), welcome.lanes[0].clone(), lines]] {
        let objection = hear(Welcome { lanes: lanes.clone(), ..welcome.clone() });
        assert_eq!(objection, Objection::Lanes { services: lanes.into_iter().map(|lane| lane.service).collect() });
    }
}
