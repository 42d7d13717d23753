use proptest::prelude::*;

use super::*;

const PATIENCE: Patience = Patience {
    silence: Duration::from_secs(1),
    shut_window: Duration::from_secs(10),
    linger: Duration::from_millis(200),
    look_first: Duration::from_millis(10),
    look_max: Duration::from_millis(100),
};

fn ns(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap()
}

fn ms(duration_ms: u64) -> u64 {
    ns(Duration::from_millis(duration_ms))
}

/// A connection as it really is: what the server has, what is on its way, and what the client does.
#[derive(Clone, Debug)]
struct Connection {
    unwritten_bytes: usize,
    /// Written, the end of the output too, and not acknowledged.
    unacknowledged_bytes: u64,
    acknowledged_bytes: u64,
    window_shut: bool,
    output_ended: bool,
    client_ended: bool,
}

impl Connection {
    fn with(unwritten_bytes: usize, unacknowledged_bytes: u64) -> Self {
        Self {
            unwritten_bytes,
            unacknowledged_bytes,
            acknowledged_bytes: 1,
            window_shut: false,
            output_ended: false,
            client_ended: false,
        }
    }

    fn end_output(&mut self) {
        assert_eq!((self.unwritten_bytes, self.output_ended), (0, false));
        self.output_ended = true;
        self.unacknowledged_bytes += 1;
    }

    fn delivered(&self) -> bool {
        self.output_ended && self.unacknowledged_bytes == 0
    }

    fn sight(&self) -> Sight {
        Sight {
            output: if self.output_ended { Output::Ended } else { Output::Pending { bytes: self.unwritten_bytes } },
            delivery: Delivery {
                complete: self.unacknowledged_bytes == 0,
                acknowledged_bytes: self.acknowledged_bytes,
                window_shut: self.window_shut && self.unacknowledged_bytes > 0,
            },
            client_ended: self.client_ended,
        }
    }

    /// Says whether that is progress.
    fn suffer(&mut self, happening: Happening) -> bool {
        match happening {
            Happening::Nothing => false,
            Happening::Write(bytes) => {
                let written = bytes.min(self.unwritten_bytes);
                self.unwritten_bytes -= written;
                self.unacknowledged_bytes += written as u64;
                written > 0
            }
            Happening::Acknowledge(bytes) => {
                let acknowledged = bytes.min(self.unacknowledged_bytes);
                self.unacknowledged_bytes -= acknowledged;
                self.acknowledged_bytes += acknowledged;
                acknowledged > 0
            }
            Happening::WindowShut(shut) => {
                self.window_shut = shut;
                false
            }
            Happening::ClientEnds => {
                self.client_ended = true;
                false
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Nothing,
    Write(usize),
    Acknowledge(u64),
    WindowShut(bool),
    ClientEnds,
}

/// Looks, and does what that says, until there is something to wait for or it is over.
fn look(parting: &mut Parting, now_ns: u64, connection: &mut Connection) -> Step {
    match parting.look(now_ns, &connection.sight(), &PATIENCE) {
        Step::EndOutput => {
            connection.end_output();
            parting.look(now_ns, &connection.sight(), &PATIENCE)
        }
        step => step,
    }
}

/// What became of a connection, when, and when it last made progress and was delivered.
#[derive(Debug)]
struct End {
    step: Step,
    at_ns: u64,
    progress_ns: u64,
    delivered_ns: Option<u64>,
}

/// Lives through `happenings`, each so many milliseconds after the one before, and looks whenever that is due. Another
/// process goes on after each look if `taken_over` says so.
fn live(connection: &Connection, happenings: &[(u64, Happening)], taken_over: bool) -> End {
    let mut connection = connection.clone();
    let began_ns = ms(5_000);
    let mut parting = Parting::begin(began_ns, &connection.sight());
    let mut end = End { step: Step::Over, at_ns: began_ns, progress_ns: began_ns, delivered_ns: None };
    let mut happenings = happenings.iter().scan(began_ns, |at_ns, (gap_ms, happening)| {
        *at_ns += ms(*gap_ms);
        Some((*at_ns, *happening))
    });
    let mut next = happenings.next();
    loop {
        end.step = look(&mut parting, end.at_ns, &mut connection);
        let Step::Wait(wait) = end.step else {
            return end;
        };
        assert!(!wait.is_zero(), "it would never end");
        if taken_over {
            parting = minicbor::decode(&minicbor::to_vec(parting).unwrap()).unwrap();
        }
        if connection.delivered() {
            end.delivered_ns.get_or_insert(end.at_ns);
        }
        end.at_ns += ns(wait);
        while let Some((at_ns, happening)) = next.take_if(|(at_ns, _)| *at_ns <= end.at_ns) {
            if connection.suffer(happening) {
                end.progress_ns = at_ns;
            }
            if connection.delivered() {
                end.delivered_ns.get_or_insert(at_ns);
            }
            next = happenings.next();
        }
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        2 => Just(Happening::Nothing),
        4 => (1..2_000usize).prop_map(Happening::Write),
        4 => (1..2_000u64).prop_map(Happening::Acknowledge),
        2 => any::<bool>().prop_map(Happening::WindowShut),
        1 => Just(Happening::ClientEnds),
    ]
}

fn connection() -> impl Strategy<Value = Connection> {
    (0..5_000usize, 0..5_000u64).prop_map(|(unwritten, unacknowledged)| Connection::with(unwritten, unacknowledged))
}

proptest! {
    #[test]
    fn nobody_is_given_up_who_makes_progress_and_nobody_is_kept_for_ever(
        connection in connection(),
        happenings in proptest::collection::vec((1..3_000u64, happening()), 0..60),
    ) {
        let end = live(&connection, &happenings, false);
        let still_ns = end.at_ns - end.progress_ns;
        let look_max_ns = ns(PATIENCE.look_max);
        match end.step {
            Step::GiveUp(_) => {
                prop_assert_eq!(end.delivered_ns, None);
                prop_assert!(still_ns >= ns(PATIENCE.silence), "{:?}", end);
                prop_assert!(still_ns <= ns(PATIENCE.shut_window) + look_max_ns, "{:?}", end);
            }
            Step::Over => {
                let kept_ns = end.at_ns - end.delivered_ns.unwrap_or(end.at_ns);
                prop_assert!(kept_ns <= ns(PATIENCE.linger) + look_max_ns, "{:?}", end);
            }
            _ => prop_assert!(false, "{:?}", end),
        }
    }

    #[test]
    fn a_takeover_at_each_look_changes_nothing(
        connection in connection(),
        happenings in proptest::collection::vec((1..3_000u64, happening()), 0..60),
    ) {
        let (kept, taken_over) = (live(&connection, &happenings, false), live(&connection, &happenings, true));
        prop_assert_eq!((kept.step, kept.at_ns), (taken_over.step, taken_over.at_ns));
    }

    #[test]
    fn a_client_that_takes_something_in_time_gets_everything(
        connection in connection(),
        gaps_ms in proptest::collection::vec(1..1_000u64, 1..40),
    ) {
        let takes = |gap_ms: &u64| [(*gap_ms, Happening::Acknowledge(1)), (0, Happening::Write(1_000))];
        let mut happenings: Vec<_> = gaps_ms.iter().flat_map(takes).collect();
        happenings.push((1, Happening::Write(usize::MAX)));
        happenings.extend([(900, Happening::Acknowledge(u64::MAX)); 2]);
        let end = live(&connection, &happenings, false);
        prop_assert_eq!(end.step, Step::Over, "{:?}", end);
    }
}

#[test]
fn a_client_is_waited_for_from_when_all_is_delivered_and_not_from_when_it_is_written() {
    let slow = [(900, Happening::Acknowledge(50)), (900, Happening::Acknowledge(51))];
    let end = live(&Connection::with(0, 100), &slow, false);
    assert_eq!(end.step, Step::Over);
    let kept_ns = end.at_ns - end.delivered_ns.unwrap();
    assert!((ns(PATIENCE.linger)..=ns(PATIENCE.linger + PATIENCE.look_max)).contains(&kept_ns), "{end:?}");
}

#[test]
fn a_client_that_has_ended_is_kept_until_it_has_everything_and_not_longer() {
    let end = live(&Connection::with(0, 0), &[(1, Happening::ClientEnds), (500, Happening::Acknowledge(1))], false);
    assert_eq!(end.step, Step::Over);
    assert!(end.at_ns - end.delivered_ns.unwrap() <= ns(PATIENCE.look_max), "{end:?}");
}

#[test]
fn a_client_of_which_nothing_is_heard_is_given_up_at_its_limit() {
    let end = live(&Connection::with(10, 10), &[], false);
    let limit = PATIENCE.silence;
    assert_eq!(end.step, Step::GiveUp(GivenUp::Silence { lasted: limit, limit }));
}

#[test]
fn a_client_that_has_no_room_is_given_up_later_than_one_that_is_silent() {
    let end = live(&Connection::with(10, 10), &[(1, Happening::WindowShut(true))], false);
    let limit = PATIENCE.shut_window;
    assert_eq!(end.step, Step::GiveUp(GivenUp::ShutWindow { lasted: limit, limit }));
}

#[test]
fn a_client_that_vanishes_while_it_has_no_room_is_given_up_as_a_silent_one() {
    let vanishes = [(1, Happening::WindowShut(true)), (5_000, Happening::WindowShut(false))];
    let end = live(&Connection::with(10, 10), &vanishes, false);
    assert!(matches!(end.step, Step::GiveUp(GivenUp::Silence { .. })), "{end:?}");
    assert!(end.at_ns - end.progress_ns < ms(5_001) + ns(PATIENCE.silence + PATIENCE.look_max), "{end:?}");
}

#[test]
fn a_connection_is_looked_at_half_as_often_each_time_and_at_least_once_in_a_second() {
    let patience = Patience::new(Duration::from_secs(30));
    let sight = Connection::with(10, 10).sight();
    let mut parting = Parting::begin(0, &sight);
    let mut now_ns = 0;
    let waits = [100, 100, 200, 400, 800, 1_000, 1_000].map(|wait_ms| {
        assert_eq!(parting.look(now_ns, &sight, &patience), Step::Wait(Duration::from_millis(wait_ms)));
        now_ns += ms(wait_ms);
        wait_ms
    });
    assert_eq!(waits.len(), 7);
}

#[test]
fn what_cannot_be_told_is_not_delivered_and_ends_at_the_limit_all_the_same() {
    let unknown = Sight { output: Output::Ended, delivery: Delivery::UNKNOWN, client_ended: true };
    let mut parting = Parting::begin(0, &unknown);
    assert!(matches!(parting.look(ms(999), &unknown, &PATIENCE), Step::Wait(_)));
    assert!(matches!(parting.look(ms(1_000), &unknown, &PATIENCE), Step::GiveUp(_)));
}

#[test]
fn a_clock_that_is_behind_keeps_nobody_for_ever() {
    let sight = Connection::with(10, 10).sight();
    let mut parting = Parting::begin(ms(1_000_000), &sight);
    assert!(matches!(parting.look(ms(5), &sight, &PATIENCE), Step::Wait(_)));
    assert!(matches!(parting.look(ms(1_005), &sight, &PATIENCE), Step::GiveUp(_)));
}

#[test]
fn the_reason_has_both_numbers() {
    let limit = Duration::from_secs(30);
    let silence = GivenUp::Silence { lasted: Duration::from_millis(30_017), limit };
    assert_eq!(silence.to_string(), "it has acknowledged nothing for 30017 ms, 30000 are allowed");
    let shut = GivenUp::ShutWindow { lasted: Duration::from_secs(301), limit: 10 * limit };
    assert_eq!(shut.to_string(), "it has had no room for 301000 ms, 300000 are allowed");
}
