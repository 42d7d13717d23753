//! Deadlines of peers and timers of the service, by a clock that tests put forward, and calls that are about no peer.

use super::*;
use crate::service::{Closed, SendError};

#[test]
fn a_server_may_take_as_long_as_it_takes() {
    let config = Config {
        drain_timeout: Duration::MAX,
        freeze_timeout: Duration::MAX,
        heartbeat: Some(Duration::MAX),
        ..Config::default()
    };
    let mut rig = Rig::new(Seqnum, &config);
    let (mut client, _) = rig.connect();
    rig.reactor.stop(&"a test");
    rig.turn_until(|_| matches!(client.read(&mut [0; 8]), Ok(0)));
    drop(client);
    rig.turn_until(|rig| rig.reactor.finished());
}

/// Lines that set the deadline of the peer that sends them, in seconds: `12` for one that closes it, `+12` for one at
/// which it is told so, `-` for none. `*12` sets that of all others, `t12` the timer 0, `r` lets it be due in each turn,
/// and `K` answers with so much that it is held.
#[derive(Default)]
struct Alarm {
    present: Vec<PeerId>,
    closed: Vec<String>,
    /// The calls that were about no peer.
    called: Vec<String>,
    repeats: bool,
}

/// Whether the peer is to be told of its deadline.
type Told = bool;

impl Service for Alarm {
    type Session = Told;
    const NAME: &'static str = "alarm";
    const STATE_VERSION: u32 = 1;

    fn open(&mut self, context: &mut Context<'_, Self>) -> Told {
        self.present.push(context.peer());
        false
    }

    fn boundary(&self, _: &mut Told, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        Ok(memchr::memchr(b'\n', input).map(|newline| newline + 1))
    }

    fn message(&mut self, told: &mut Told, line: &[u8], context: &mut Context<'_, Self>) -> Result<(), Violation> {
        let seconds = |digits: &[u8]| str::from_utf8(digits).unwrap().trim_end().parse().map(Duration::from_secs).ok();
        let this = context.peer();
        match line[0] {
            b'K' => context.reply(&vec![b'k'; BIG]),
            b'*' => {
                let others = self.present.iter().filter(|peer| **peer != this);
                others.for_each(|other| context.set_deadline(*other, seconds(&line[1..])));
            }
            b't' => context.set_timer(0, seconds(&line[1..])),
            b'r' => {
                self.repeats = true;
                context.set_timer(0, Some(Duration::ZERO));
            }
            first => {
                *told = first == b'+';
                context.set_deadline(this, seconds(line.strip_prefix(b"+").unwrap_or(line)));
            }
        }
        context.reply(b".");
        Ok(())
    }

    fn deadline(&mut self, told: &mut Told, context: &mut Context<'_, Self>) {
        if *told {
            context.reply(b"!");
        } else {
            context.close();
        }
    }

    fn started(&mut self, context: &mut Context<'_, Self>) {
        assert!(context.session(context.peer()).is_none());
        self.called.push("started".to_owned());
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        self.called.push(format!("taken over, timer in {:?} s", context.timer(0).map(|after| after.as_secs())));
    }

    fn timer(&mut self, timer: u32, context: &mut Context<'_, Self>) {
        self.called.push(format!("timer {timer}"));
        assert_eq!(context.timer(timer), None, "it is set no more");
        assert_eq!(context.send(context.peer(), b"nobody"), Err(SendError::Gone));
        self.present.iter().for_each(|peer| context.send(*peer, b"t").unwrap());
        context.set_timer(timer, self.repeats.then_some(Duration::ZERO));
    }

    fn stopping(&mut self, context: &mut Context<'_, Self>) {
        self.called.push("stopping".to_owned());
        self.present.iter().for_each(|peer| context.send(*peer, b"bye").unwrap());
    }

    fn closed(&mut self, _: Told, how: &Closed, context: &mut Context<'_, Self>) {
        self.present.retain(|peer| *peer != context.peer());
        self.closed.push(how.to_string());
    }

    fn save_session(&self, told: &Told, record: &mut Vec<u8>) {
        record.push((*told).into());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Told, RestoreError> {
        Ok(record == [1])
    }
}

impl Rig<Alarm> {
    /// A client that has said one line, to which the service has answered.
    fn connect_saying(&mut self, line: &[u8]) -> (Client, usize) {
        let (mut client, key) = self.connect();
        self.say(&mut client, line);
        (client, key)
    }

    #[track_caller]
    fn say(&mut self, client: &mut Client, line: &[u8]) {
        client.write_all(line).unwrap();
        assert_eq!(self.receive(client, 1), b".");
    }

    fn pass(&mut self, seconds: u64) {
        self.ahead += Duration::from_secs(seconds);
        self.turn();
    }

    fn closed(&self) -> &[String] {
        &self.reactor.lanes.lane.service().closed
    }
}

#[test]
fn a_peer_is_closed_when_its_deadline_is_reached_and_not_before() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (client, _) = rig.connect_saying(b"100\n");
    let (_without, without_key) = rig.connect_saying(b"-\n");
    let due = rig.reactor.timeout().expect("the loop wakes up for it");
    assert!((90..=100).contains(&due.as_secs()), "{due:?}");
    rig.pass(50);
    assert_eq!(rig.keys().len(), 2);
    rig.pass(51);
    client.shutdown(Shutdown::Both).unwrap();
    rig.turn_until(|rig| rig.keys() == [without_key]);
    assert_eq!(rig.closed(), ["its deadline was reached"]);
    assert_eq!(rig.reactor.timeout(), None, "nobody is waited for");
}

#[test]
fn a_deadline_that_every_message_moves_is_reached_once_after_the_last() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (mut client, _) = rig.connect();
    for _ in 0..10 {
        rig.say(&mut client, b"+100\n");
        rig.pass(90);
    }
    rig.pass(20);
    assert_eq!(rig.receive(&mut client, 1), b"!");
    rig.pass(1000);
    rig.say(&mut client, b"-\n");
}

#[test]
fn what_a_peer_has_sent_by_its_deadline_may_move_it() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (mut client, _) = rig.connect_saying(b"100\n");
    // It comes after the poll, so that no event tells of it.
    rig.reactor.poll(&mut rig.events, Some(Duration::ZERO)).unwrap();
    client.write_all(b"200\n").unwrap();
    rig.ahead = Duration::from_secs(150);
    rig.reactor.turn_at(Instant::now() + rig.ahead, &rig.events);
    assert_eq!(rig.receive(&mut client, 1), b".");
    assert_eq!(rig.keys().len(), 1);
    rig.pass(201);
    drop(client);
    rig.turn_until(|rig| rig.closed() == ["its deadline was reached"]);
}

#[test]
fn a_deadline_may_be_set_or_taken_away_in_a_call_about_another_peer() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (mut one, _) = rig.connect();
    let (mut other, _) = rig.connect_saying(b"+50\n");
    rig.say(&mut one, b"*\n");
    rig.pass(60);
    rig.say(&mut one, b"*10\n");
    rig.pass(11);
    assert_eq!(rig.receive(&mut other, 1), b"!");
}

#[test]
fn many_deadlines_at_once_do_not_hold_up_the_loop() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (mut one, _) = rig.connect();
    let others: Vec<(Client, usize)> = (0..300).map(|_| rig.connect()).collect();
    rig.say(&mut one, b"*10\n");
    rig.ahead = Duration::from_secs(11);
    rig.turn();
    let closing = |rig: &Rig<Alarm>| rig.keys().into_iter().filter(|key| rig.peer(*key).talk.is_closing()).count();
    assert_eq!(closing(&rig), 256);
    assert!(rig.reactor.lanes.lane.table().due_at() <= Some(rig.reactor.now), "the next turn comes at once");
    drop(others);
    rig.turn_until(|rig| rig.keys().len() == 1);
    assert_eq!(rig.closed().len(), 300);
}

#[test]
fn a_successor_does_not_begin_a_deadline_anew() {
    let mut predecessor = Rig::new(Alarm::default(), &Config::default());
    let (mut told, _) = predecessor.connect_saying(b"+100\n");
    let (_later, later_key) = predecessor.connect_saying(b"300\n");
    predecessor.pass(90);
    let reactor = successor_of(&predecessor, &Config::default());
    let ahead = predecessor.ahead + Duration::from_secs(11);
    let mut successor = Rig { reactor, address: predecessor.address, events: predecessor.events, ahead };
    // Since the freeze it was reached.
    assert_eq!(successor.receive(&mut told, 1), b"!");
    successor.pass(0);
    assert_eq!(successor.keys().len(), 2);
    successor.pass(200);
    assert!(successor.peer(later_key).talk.is_closing());
}

#[test]
fn a_peer_whose_deadline_was_reached_before_a_takeover_is_closed_for_that_reason_after_it() {
    let mut predecessor = Rig::new(Alarm::default(), &Config::default());
    let (mut client, key) = predecessor.connect_saying(b"100\n");
    client.write_all(b"K\n").unwrap();
    predecessor.turn_until(|rig| rig.peer(key).talk.pending_bytes() > 0);
    predecessor.pass(101);
    predecessor.turn_until(|rig| rig.peer(key).talk.phase() == Phase::Closing);

    let reactor = successor_of(&predecessor, &Config::default());
    let Rig { address, events, ahead, .. } = predecessor;
    let mut successor = Rig { reactor, address, events, ahead };
    assert_eq!(successor.receive(&mut client, BIG + 1).len(), BIG + 1);
    drop(client);
    successor.turn_until(|rig| rig.closed() == ["its deadline was reached"]);
}

#[test]
fn a_stop_does_not_wait_for_deadlines() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (client, _) = rig.connect_saying(b"3600\n");
    rig.reactor.stop(&Signal::SIGTERM);
    drop(client);
    rig.turn_until(|rig| rig.reactor.stopped());
}

#[test]
fn a_timer_is_due_once_and_reaches_everybody() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (mut one, _) = rig.connect_saying(b"t100\n");
    let (mut other, _) = rig.connect();
    rig.pass(99);
    rig.say(&mut one, b"t100\n");
    rig.pass(99);
    assert_eq!(rig.reactor.lanes.lane.service().called, [] as [&str; 0]);
    rig.pass(1000);
    for client in [&mut one, &mut other] {
        assert_eq!(rig.receive(client, 1), b"t");
    }
    assert_eq!(rig.reactor.lanes.lane.service().called, ["timer 0"]);
    rig.say(&mut one, b"t10\n");
    rig.say(&mut one, b"t\n");
    rig.pass(1000);
    assert_eq!(rig.reactor.lanes.lane.service().called.len(), 1, "it was taken back");
}

#[test]
fn a_timer_that_is_due_in_each_turn_does_not_hold_up_the_loop() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let (mut client, _) = rig.connect_saying(b"r\n");
    for timers in 1..10 {
        rig.pass(0);
        assert_eq!(rig.reactor.lanes.lane.service().called.len(), timers);
    }
    drop(rig.receive(&mut client, 9));
}

#[test]
fn a_stop_lets_the_service_say_goodbye_to_those_that_ask_nothing() {
    let mut rig = Rig::new(Alarm::default(), &Config::default());
    let mut clients = [rig.connect().0, rig.connect().0];
    rig.reactor.stop(&Signal::SIGTERM);
    for client in &mut clients {
        assert_eq!(rig.receive(client, 4), b"bye", "and then the end");
        client.shutdown(Shutdown::Both).unwrap();
    }
    rig.reactor.stop(&Signal::SIGTERM);
    rig.turn_until(|rig| rig.reactor.stopped());
    assert_eq!(rig.reactor.lanes.lane.service().called, ["stopping"]);
}
