//! Peers that are held, let go, finished and reset by their service, with takeovers in between.

use super::*;
use crate::service::{Closed, Counted, SendError};

/// Lines of two letters: what to do, and to whom: `1` is the first peer, `0` the one that speaks. Every line is answered
/// with its first letter, after it was obeyed; `d` says that the peer that speaks has drained.
#[derive(Default)]
struct Valve {
    first: Option<PeerId>,
    ends: Vec<String>,
    /// Of whoever was asked about, or of the last who is gone.
    counted: Counted,
    /// What became of the last send.
    sent: Option<Result<(), SendError>>,
}

impl Service for Valve {
    type Session = ();
    const NAME: &'static str = "valve";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, context: &mut Context<'_, Self>) {
        self.first.get_or_insert(context.peer());
    }

    fn boundary(&self, (): &mut (), input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok((input.len() >= 2).then_some(2))
    }

    fn message(&mut self, (): &mut (), line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        let first = self.first.unwrap_or(context.peer());
        let whom = if line[1] == b'1' { first } else { context.peer() };
        match line[0] {
            b'H' => context.hold(whom),
            b'R' => context.release(whom),
            b'F' => context.finish(whom),
            b'A' => context.abort(whom),
            b'B' => context.reply(&vec![b'b'; BIG]),
            b'S' => {
                let sent = context.send(whom, b"s");
                context.reply(&[u8::from(sent.is_ok())]);
                self.sent = Some(sent);
            }
            b'N' => context.reply(&[u8::try_from(context.peers().len()).unwrap()]),
            b'C' => self.counted = context.counted(whom),
            b'V' => return Err(Violation::new("V is not allowed")),
            _ => {}
        }
        context.reply(&line[..1]);
        Ok(())
    }

    fn ended(&mut self, (): &mut (), context: &mut Context<'_, Self>) {
        context.reply(b"e");
    }

    fn drained(&mut self, (): &mut (), context: &mut Context<'_, Self>) {
        context.reply(b"d");
    }

    fn closed(&mut self, (): (), how: &Closed, context: &mut Context<'_, Self>) {
        self.ends.push(how.to_string());
        let gone = context.peer();
        self.counted = context.counted(gone);
        self.sent = Some(context.send(gone, b"s"));
        assert!(!context.peers().contains(&gone));
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

impl Rig<Valve> {
    /// Sends a line of somebody, and waits for its answer.
    #[track_caller]
    fn obey(&mut self, client: &mut Client, line: &[u8; 2]) {
        client.write_all(line).unwrap();
        assert_eq!(self.receive(client, 1), line[..1]);
    }

    fn ends(&self) -> &[String] {
        &self.reactor.lanes.lane.service().ends
    }

    /// A successor has taken over.
    fn handed_over(mut self) -> Self {
        let mut reactor = successor_of(&self, &Config::default());
        reactor.lanes.lane.restore(1, &[]).unwrap();
        for key in self.keys() {
            self.reactor.lanes.lane.table_mut().let_go(key);
        }
        Self { reactor, address: self.address, events: self.events, ahead: self.ahead }
    }
}

/// What a client that does not wait has received by the end of its connection.
#[track_caller]
fn rest_of(rig: &mut Rig<Valve>, client: &mut Client) -> Vec<u8> {
    let mut rest = Vec::new();
    rig.turn_until(|_| match client.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("after {} bytes: {error}", rest.len()),
    });
    rest
}

#[test]
fn a_held_peer_is_read_from_when_it_is_released_and_not_before_also_across_takeovers() {
    for takeovers in [false, true] {
        let mut rig = Rig::new(Valve::default(), &Config::default());
        let (mut held, key) = rig.connect();
        let (mut other, _) = rig.connect();
        rig.obey(&mut other, b"H1");
        held.write_all(b"x0").unwrap();
        if takeovers {
            let first = rig.reactor.lanes.lane.service().first;
            rig = rig.handed_over();
            rig.reactor.lanes.lane.service_mut().first = first;
        }
        rig.obey(&mut other, b"y0");
        held.write_all(b"z0").unwrap();
        rig.obey(&mut other, b"y0");
        assert_eq!(held.read(&mut [0; 2]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(!rig.peer(key).talk.listens());
        rig.obey(&mut other, b"R1");
        assert_eq!(rig.receive(&mut held, 2), b"xz");
    }
}

#[test]
fn messages_behind_the_one_that_holds_its_peer_wait_for_the_release() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut held, _) = rig.connect();
    let (mut other, _) = rig.connect();
    held.write_all(b"x0H0y0").unwrap();
    assert_eq!(rig.receive(&mut held, 2), b"xH");
    rig.obey(&mut other, b"y0");
    assert_eq!(held.read(&mut [0; 2]).unwrap_err().kind(), ErrorKind::WouldBlock);
    rig.obey(&mut other, b"R1");
    assert_eq!(rig.receive(&mut held, 1), b"y");
}

#[test]
fn a_peer_that_is_held_for_two_reasons_waits_for_both_to_go() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut held, key) = rig.connect();
    let (mut other, _) = rig.connect();
    held.write_all(b"B0x0").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.is_full());
    rig.obey(&mut other, b"H1");
    rig.obey(&mut other, b"R1");
    assert!(!rig.peer(key).talk.listens(), "its output is over the mark");
    rig.obey(&mut other, b"H1");
    let answer = rig.receive(&mut held, BIG + 2);
    assert_eq!(answer[BIG..], *b"Bd", "that it has drained is said at once");
    assert!(!rig.peer(key).talk.listens(), "the service has asked for it");
    rig.obey(&mut other, b"R1");
    assert_eq!(rig.receive(&mut held, 1), b"x");
}

#[test]
fn a_peer_that_was_over_its_mark_is_told_of_once_it_has_drained_also_by_a_successor_with_higher_marks() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut slow, key) = rig.connect();
    slow.write_all(b"B0").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.is_full());
    let generous = Config { outbound_high_bytes: 2 * BIG, outbound_low_bytes: 2 * BIG, ..Config::default() };
    let reactor = successor_of(&rig, &generous);
    let mut rig = Rig { reactor, address: rig.address, events: rig.events, ahead: rig.ahead };
    assert_eq!(rig.receive(&mut slow, BIG + 2)[BIG..], *b"Bd");
    rig.obey(&mut slow, b"x0");
}

#[test]
fn a_send_that_is_refused_is_followed_by_word_that_there_is_room() {
    let config = Config { outbound_high_bytes: 0, outbound_low_bytes: 0, ..Config::default() };
    let mut rig = Rig::new(Valve::default(), &config);
    let (mut first, _) = rig.connect();
    let (mut other, _) = rig.connect();
    other.write_all(b"S1").unwrap();
    assert_eq!(rig.receive(&mut other, 2), [1, b'S']);
    assert_eq!(rig.receive(&mut first, 1), b"s");
    // Two in one turn, the second of which finds the first one pending.
    let (mut third, _) = rig.connect();
    other.write_all(b"S1").unwrap();
    third.write_all(b"S1").unwrap();
    rig.turn_until(|rig| rig.receive(&mut other, 2) == [1, b'S']);
    let refused = rig.receive(&mut third, 2) == [0, b'S'];
    assert_eq!(rig.receive(&mut first, 2), if refused { *b"sd" } else { *b"ss" });
}

#[test]
fn a_finished_peer_is_told_so_after_what_is_pending_and_is_read_from_until_it_ends() {
    for takeovers in [false, true] {
        let mut rig = Rig::new(Valve::default(), &Config::default());
        let (mut client, key) = rig.connect();
        let (mut other, _) = rig.connect();
        client.write_all(b"B0F0").unwrap();
        rig.turn_until(|rig| rig.peer(key).talk.pending_bytes() > 0);
        if takeovers {
            rig = rig.handed_over();
        }
        let received = rest_of(&mut rig, &mut client);
        assert_eq!(received.len(), BIG + 3, "the answer to F is the last, and what is pending comes before it");
        if takeovers {
            rig = rig.handed_over();
        }
        client.write_all(b"x0").unwrap();
        rig.obey(&mut other, b"y0");
        other.write_all(b"N0").unwrap();
        assert_eq!(rig.receive(&mut other, 2), [2, b'N'], "it is there still");
        client.shutdown(Shutdown::Write).unwrap();
        rig.turn_until(|rig| rig.ends() == ["it has ended"]);
        assert!(rest_of(&mut rig, &mut client).is_empty(), "nothing comes after the end");
    }
}

#[test]
fn a_peer_that_ended_first_is_over_when_it_is_finished_by_another() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut client, _) = rig.connect();
    let (mut other, _) = rig.connect();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rig.receive(&mut client, 1), b"e");
    rig.obey(&mut other, b"F1");
    assert!(rest_of(&mut rig, &mut client).is_empty());
    rig.turn_until(|rig| rig.ends() == ["it has ended"]);
    other.write_all(b"S1").unwrap();
    assert_eq!(rig.receive(&mut other, 2), [0, b'S'], "nobody sends to it");
}

#[test]
fn an_aborted_peer_sees_a_reset_whoever_asked_for_it() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut first, _) = rig.connect();
    let (mut other, _) = rig.connect();
    rig.obey(&mut other, b"A1");
    rig.turn_until(|rig| rig.keys().len() == 1);
    assert_eq!(first.read(&mut [0; 2]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    other.write_all(b"A0").unwrap();
    rig.turn_until(|rig| rig.keys().is_empty());
    assert_eq!(other.read(&mut [0; 2]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(rig.ends(), ["it has ended", "it has ended"]);
}

#[test]
fn a_service_hears_of_its_own_objection_when_the_peer_is_gone() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut client, _) = rig.connect();
    client.write_all(b"V0").unwrap();
    assert!(rest_of(&mut rig, &mut client).is_empty());
    drop(client);
    rig.turn_until(|rig| rig.ends() == ["it broke the protocol: V is not allowed"]);
}

#[test]
fn what_the_kernel_has_counted_is_the_same_after_a_takeover() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut client, key) = rig.connect();
    rig.obey(&mut client, b"x0");
    rig.turn_until(|rig| !rig.peer(key).is_undelivered());
    let mut rig = rig.handed_over();
    rig.obey(&mut client, b"C0");
    let Counted { received_bytes, acknowledged_bytes, round_trip_us, retransmits } =
        rig.reactor.lanes.lane.service().counted;
    assert_eq!((received_bytes, acknowledged_bytes, retransmits), (4, 1, 0));
    assert!(round_trip_us > 0, "what was acknowledged took some time");
}

#[test]
fn what_the_kernel_has_counted_of_who_is_gone_is_known_to_its_service_which_sends_it_nothing() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut client, _) = rig.connect();
    client.write_all(b"x0F0").unwrap();
    assert_eq!(rest_of(&mut rig, &mut client), b"xF");
    client.shutdown(Shutdown::Write).unwrap();
    rig.turn_until(|rig| rig.ends().len() == 1);
    let service = rig.reactor.lanes.lane.service();
    // The end of either's output counts as a byte.
    assert_eq!((service.counted.received_bytes, service.counted.acknowledged_bytes), (5, 3));
    assert_eq!(service.sent, Some(Err(SendError::Gone)));
}

#[test]
fn a_finished_peer_is_not_sent_anything_in_its_own_calls_either() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut client, _) = rig.connect();
    client.write_all(b"F0").unwrap();
    assert_eq!(rest_of(&mut rig, &mut client), b"F");
    client.write_all(b"S0").unwrap();
    rig.turn_until(|rig| rig.reactor.lanes.lane.service().sent == Some(Err(SendError::Gone)));
}

#[test]
fn a_violation_is_told_by_whoever_writes_the_last_that_was_pending() {
    let mut rig = Rig::new(Valve::default(), &Config::default());
    let (mut client, key) = rig.connect();
    client.write_all(b"B0").unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.pending_bytes() > 0);
    // Whose output is over the mark has no more handled.
    let generous = Config { outbound_high_bytes: 2 * BIG, outbound_low_bytes: 2 * BIG, ..Config::default() };
    let reactor = successor_of(&rig, &generous);
    let mut rig = Rig { reactor, address: rig.address, events: rig.events, ahead: rig.ahead };
    client.write_all(b"V0").unwrap();
    let key = rig.keys()[0];
    rig.turn_until(|rig| rig.peer(key).talk.is_closing());
    let mut rig = rig.handed_over();
    rest_of(&mut rig, &mut client);
    drop(client);
    rig.turn_until(|rig| rig.ends() == ["it broke the protocol: V is not allowed"]);
}

/// Each byte is answered with many. At a deadline, it has the client read all that is there.
#[derive(Default)]
struct Multiply {
    client: Option<Client>,
    drained: u32,
}

/// So many.
const MANY: usize = 8 << 10;

impl StreamService for Multiply {
    type Session = ();
    const NAME: &'static str = "multiply";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) {
        context.set_deadline(context.peer(), Some(Duration::from_secs(60)));
    }

    fn input(
        &mut self,
        (): &mut (),
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while used < input.len() && !context.is_full() {
            context.reply(&[0; MANY]);
            used += 1;
        }
        Ok(used)
    }

    fn deadline(&mut self, (): &mut (), context: &mut Context<'_, Self>) {
        let client = self.client.as_mut().unwrap();
        while client.read(&mut [0; 64 << 10]).is_ok() {}
        context.reply(b"!");
    }

    fn drained(&mut self, (): &mut (), _: &mut Context<'_, Self>) {
        self.drained += 1;
    }

    fn save_session(&self, (): &(), _: &mut Vec<u8>) {}

    fn restore_session(&self, _: u32, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

#[test]
fn who_drains_while_the_service_is_called_at_its_deadline_goes_on() {
    let config = Config { outbound_high_bytes: 64 << 10, outbound_low_bytes: 64 << 10, ..Config::default() };
    let mut rig = Rig::new(Multiply::default(), &config);
    let (mut client, key) = rig.connect();
    client.write_all(&[0; 4000]).unwrap();
    rig.turn_until(|rig| rig.peer(key).talk.is_full());
    for _ in 0..3 {
        rig.turn();
    }
    let kept_before = rig.peer(key).talk.inbound.len();
    assert!(kept_before > 0);
    rig.reactor.lanes.lane.service_mut().client = Some(client);
    rig.ahead = Duration::from_secs(61);
    for _ in 0..5 {
        rig.turn();
    }
    assert!(rig.reactor.lanes.lane.service().drained > 0);
    assert!(rig.peer(key).talk.inbound.len() < kept_before);
}

/// Answers the first byte in many pieces, and uses nothing before the last of them.
#[derive(Default)]
struct Recite {
    drained: usize,
}

const PIECES: usize = 40;

impl StreamService for Recite {
    /// How many pieces have been answered.
    type Session = usize;
    const NAME: &'static str = "recite";
    const STATE_VERSION: u32 = 1;
    const INPUT_BYTES_MAX: usize = 1000;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) -> usize {
        0
    }

    fn input(
        &mut self,
        pieces: &mut usize,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        while *pieces < PIECES && !context.is_full() {
            context.reply(&[b'p'; MANY]);
            *pieces += 1;
        }
        Ok(if *pieces < PIECES { 0 } else { input.len() })
    }

    fn drained(&mut self, _: &mut usize, _: &mut Context<'_, Self>) {
        self.drained += 1;
    }

    fn save_session(&self, pieces: &usize, record: &mut Vec<u8>) {
        record.push(u8::try_from(*pieces).unwrap());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<usize, RestoreError> {
        Ok(record[0].into())
    }
}

#[test]
fn a_service_that_uses_nothing_while_much_is_pending_is_called_again_and_closes_nobody() {
    for takes_over in [false, true] {
        let config = Config { outbound_high_bytes: MANY, outbound_low_bytes: MANY, ..Config::default() };
        let mut rig = Rig::new(Recite::default(), &config);
        let (mut client, key) = rig.connect();
        client.write_all(&[b'?'; 3000]).unwrap();
        // The socket takes each piece at once.
        let mut received = rig.receive(&mut client, MANY).len();
        assert!(rig.peer(key).talk.inbound.len() > Recite::INPUT_BYTES_MAX, "nothing is used yet");
        if takes_over {
            assert_eq!(rig.peer(key).talk.pending_bytes(), 0, "what the successor is to do is not to write");
            rig = opened::handed_over(rig, &config);
        }
        received += rig.receive(&mut client, (PIECES - 1) * MANY).len();
        assert_eq!(received, PIECES * MANY);
        assert!(rig.reactor.lanes.lane.service().drained > 0);
        let key = rig.keys()[0];
        rig.turn_until(|rig| rig.peer(key).talk.inbound.is_empty());
    }
}
