//! A standby has the keys of tickets as they are, whenever they change.

use reactord_process::frame::RawFrame;

use super::handshakes::tls;
use super::*;
use crate::peer::secured::LAYOUT;
use crate::takeover::wire::{Copied, Round, Tickets};

impl Rig<Seqnum> {
    /// What the standby is told next, apart from this.
    fn tells(&mut self, standby: &mut Channel, is_passed_over: impl Fn(&Frame<'_>) -> bool) -> RawFrame {
        for _ in 0..TURNS_MAX {
            self.turn();
            self.reactor.hand_over();
            let Some(raw) = standby.receive().unwrap() else { continue };
            if !is_passed_over(&raw.decode().unwrap()) {
                return raw;
            }
        }
        panic!("not in {TURNS_MAX} turns");
    }
}

#[test]
fn a_standby_is_told_when_tickets_are_sealed_with_another_key() {
    let directory = tempfile::tempdir().unwrap();
    let ours = tls();
    let mut rig = Rig::with_tls(Seqnum, &Config::default(), Some(ours.clone()));
    let callers = Callers::on(TakeoverListener::bind(&directory.path().join("takeover")).unwrap());
    rig.reactor.sources.answer(rig.reactor.poll.registry(), callers).unwrap();
    let (channel, mut standby) = Channel::pair();
    let hello = Hello {
        wire_versions: WIRE_VERSIONS,
        build: String::new(),
        services: vec![Offer::of::<Seqnum>().0],
        files_max: 1000,
        files_open: 0,
        upgrade: None,
        tls_layout: LAYOUT,
    };
    rig.reactor.follow(Greeting { channel, pid: 1, hello });
    let is_before = |frame: &Frame<'_>| matches!(frame, Frame::Welcome(_) | Frame::Listeners(_));
    loop {
        let raw = rig.tells(&mut standby, is_before);
        let Frame::Round(Round { number, last, .. }) = raw.decode().unwrap() else { panic!("nobody is there") };
        if last {
            break standby.post(&Frame::Ready.encode()).unwrap();
        }
        standby.post(&Frame::Copied(Copied { rounds: number, ..Copied::default() }).encode()).unwrap();
    }
    let raw = rig.tells(&mut standby, |_| false);
    assert!(matches!(raw.decode().unwrap(), Frame::Licence));

    // As if six hours had passed: there is one more.
    let others = tls();
    let keys = [&ours.save_tickets()[..], &others.save_tickets()[1..]].concat();
    ours.adopt_tickets(&keys);
    rig.ahead = Duration::from_secs(1);
    let raw = rig.tells(&mut standby, |frame| matches!(frame, Frame::Mark(_)));
    let Frame::Tickets(Tickets { keys: told }) = raw.decode().unwrap() else { panic!("they have changed") };
    assert_eq!(told.iter().map(|keys| keys.bytes()).collect::<Vec<_>>(), [&keys[..]]);
}
