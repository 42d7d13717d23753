//! The built-in services behind a driver that calls them as the reactor does: whatever comes, in whatever pieces, and
//! with a takeover between any two of them.

use proptest::prelude::*;

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::peer::{Address, Marks, PeerId};
use crate::service::{Context, SendError, Service, Violation};
use crate::table::{Peers, Sessions};

/// What the service `line` promises: a line has at most so many bytes, its newline not counted.
const LINE_BYTES_MAX: usize = 65_536;

/// One peer of a service, and the bytes that the reactor would hold for it.
struct Driver<S: Service> {
    service: S,
    session: S::Session,
    peers: Peers,
    sessions: Sessions<S::Session>,
    inbound: Vec<u8>,
    output: Vec<u8>,
    violation: Option<Violation>,
}

fn context<'a, S: Service>(
    output: &'a mut Vec<u8>,
    peers: &'a mut Peers,
    sessions: &'a mut Sessions<S::Session>,
) -> Context<'a, S> {
    let address = Address::from(([127, 0, 0, 1], 57796));
    Context::new(PeerId::from(1), address, Instant::now(), output, peers, sessions.all())
}

impl<S: Service + Default> Driver<S> {
    fn new() -> Self {
        let mut service = S::default();
        let mut peers = Peers::new(0, Marks { high_bytes: usize::MAX, low_bytes: usize::MAX }, 0);
        let mut output = Vec::new();
        let mut sessions = Sessions::new(0);
        let session = service.open(&mut context(&mut output, &mut peers, &mut sessions));
        Self { service, session, peers, sessions, inbound: Vec::new(), output, violation: None }
    }

    /// The client sends `input`.
    fn feed(&mut self, input: &[u8]) {
        let searched = self.inbound.len();
        self.inbound.extend_from_slice(input);
        self.handle(searched);
    }

    fn handle(&mut self, mut searched: usize) {
        let inbound = std::mem::take(&mut self.inbound);
        let mut rest = inbound.as_slice();
        while !rest.is_empty() && self.violation.is_none() {
            let bytes = match self.service.boundary(&mut self.session, rest, std::mem::take(&mut searched)) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    assert!(rest.len() <= S::MESSAGE_BYTES_MAX, "the service says itself what is too long");
                    self.inbound = rest.to_vec();
                    return;
                }
                Err(violation) => return self.violation = Some(violation),
            };
            assert!(0 < bytes && bytes <= S::MESSAGE_BYTES_MAX);
            let (message, behind) = rest.split_at(bytes);
            let mut context = context(&mut self.output, &mut self.peers, &mut self.sessions);
            let result = self.service.message(&mut self.session, message, &mut context);
            assert!(!context.is_closing());
            self.violation = result.err();
            rest = behind;
        }
    }

    /// A successor takes over: what is saved is all that it has.
    fn take_over(&mut self) {
        let (mut shared, mut record) = (Vec::new(), Vec::new());
        self.service.save(&mut shared);
        self.service.save_session(&self.session, &mut record);
        self.service = S::default();
        self.session = self.service.restore_session(S::STATE_VERSION, &record).unwrap();
        self.service.restore(S::STATE_VERSION, &shared).unwrap();
        // Its search begins anew.
        if self.violation.is_none() {
            self.handle(0);
        }
    }
}

/// What comes of an input: the output, what is left unhandled, and the violation.
type Outcome = (Vec<u8>, Vec<u8>, Option<Violation>);

fn whole<S: Service + Default>(input: &[u8]) -> Outcome {
    in_pieces::<S>(input, &[(usize::MAX, false)])
}

/// Feeds the input in pieces of these sizes, over and over, each followed by a takeover or not.
fn in_pieces<S: Service + Default>(input: &[u8], pieces: &[(usize, bool)]) -> Outcome {
    let mut driver = Driver::<S>::new();
    let mut rest = input;
    for &(bytes, taken_over) in pieces.iter().cycle() {
        if rest.is_empty() || driver.violation.is_some() {
            break;
        }
        let (piece, behind) = rest.split_at(bytes.min(rest.len()));
        driver.feed(piece);
        if taken_over {
            driver.take_over();
        }
        rest = behind;
    }
    (driver.output, driver.inbound, driver.violation)
}

fn pieces() -> impl Strategy<Value = Vec<(usize, bool)>> {
    proptest::collection::vec((1..20usize, any::<bool>()), 1..30)
}

/// Bytes with a newline here and there.
fn text() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![1 => Just(b'\n'), 6 => any::<u8>()], 0..300)
}

proptest! {
    #[test]
    fn seqnum_echoes_whole_numbers_however_they_are_cut_and_taken_over(
        input in proptest::collection::vec(any::<u8>(), 0..300),
        pieces in pieces(),
    ) {
        let (output, left, violation) = in_pieces::<Seqnum>(&input, &pieces);
        let (echoed, unfinished) = input.split_at(input.len() / 4 * 4);
        prop_assert_eq!(&output, echoed);
        prop_assert_eq!(&left, unfinished);
        prop_assert_eq!(&violation, &None);
        prop_assert_eq!(whole::<Seqnum>(&input), (output, left, violation));
    }

    #[test]
    fn line_echoes_whole_lines_however_they_are_cut_and_taken_over(input in text(), pieces in pieces()) {
        let (output, left, violation) = in_pieces::<Line>(&input, &pieces);
        let end = input.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let (echoed, unfinished) = input.split_at(end);
        prop_assert_eq!(&output, echoed);
        prop_assert_eq!(&left, unfinished);
        prop_assert_eq!(&violation, &None);
        prop_assert_eq!(whole::<Line>(&input), (output, left, violation));
    }

    #[test]
    fn the_end_of_a_line_is_found_wherever_the_search_is_taken_up(input in text()) {
        let first = input.iter().position(|byte| *byte == b'\n');
        for searched in 0..=first.unwrap_or(input.len()) {
            if !input.is_empty() {
                let found = Line::default().boundary(&mut (), &input, searched);
                prop_assert_eq!(found, Ok(first.map(|newline| newline + 1)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn long_lines_end_alike_however_they_are_cut(
        lengths in proptest::collection::vec(LINE_BYTES_MAX - 2..LINE_BYTES_MAX + 3, 1..4),
        pieces in proptest::collection::vec((1..LINE_BYTES_MAX + 10, any::<bool>()), 1..5),
    ) {
        let input: Vec<u8> = lengths.iter().flat_map(|length| line_of(*length)).collect();
        let (output, left, violation) = in_pieces::<Line>(&input, &pieces);
        let accepted = lengths.iter().take_while(|length| **length <= LINE_BYTES_MAX).map(|length| length + 1).sum();
        prop_assert!(output == input[..accepted]);
        prop_assert_eq!(violation.is_some(), accepted < input.len());
        prop_assert!(left.is_empty());
    }
}

fn line_of(bytes: usize) -> Vec<u8> {
    let mut line = vec![b'a'; bytes];
    line.push(b'\n');
    line
}

#[test]
fn a_line_of_the_greatest_length_is_echoed_wherever_it_is_cut() {
    let line = line_of(LINE_BYTES_MAX);
    assert_eq!(whole::<Line>(&line), (line.clone(), Vec::new(), None));
    for cut in [1, 2, 32_768, LINE_BYTES_MAX - 1, LINE_BYTES_MAX] {
        for taken_over in [false, true] {
            let outcome = in_pieces::<Line>(&line, &[(cut, taken_over), (usize::MAX, taken_over)]);
            assert!(outcome == (line.clone(), Vec::new(), None), "cut at {cut}");
        }
    }
}

#[test]
fn a_line_of_one_byte_more_is_a_violation_wherever_it_is_cut() {
    let before = b"a short line\n";
    let line = line_of(LINE_BYTES_MAX + 1);
    for input in [[before, line.as_slice()].concat(), [before, &line[..LINE_BYTES_MAX + 1]].concat()] {
        for cut in [1, before.len(), 32_768, LINE_BYTES_MAX, LINE_BYTES_MAX + before.len(), input.len()] {
            for taken_over in [false, true] {
                let (output, _, violation) = in_pieces::<Line>(&input, &[(cut, taken_over), (usize::MAX, taken_over)]);
                assert_eq!(output, before, "what came before is answered");
                let violation = violation.expect("it is known before the newline comes");
                assert_eq!(violation.to_string(), "a line of more than 65536 bytes");
            }
        }
    }
}

#[test]
fn an_unfinished_line_of_the_greatest_length_is_waited_for() {
    let unfinished = vec![b'a'; LINE_BYTES_MAX];
    assert!(whole::<Line>(&unfinished) == (Vec::new(), unfinished, None));
}

#[test]
fn empty_lines_are_lines() {
    assert_eq!(whole::<Line>(b"\n\n\n"), (b"\n\n\n".to_vec(), Vec::new(), None));
}

// ── Saving and restoring ───────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_seqnum_session_is_restored_in_every_state() {
    for session in [None, Some(0), Some(1), Some(0x0102_0304), Some(u32::MAX)] {
        let mut record = Vec::new();
        Seqnum.save_session(&session, &mut record);
        assert_eq!(Seqnum.restore_session(Seqnum::STATE_VERSION, &record), Ok(session));
    }
    let mut record = Vec::new();
    Seqnum.save_session(&Some(0x0102_0304), &mut record);
    assert_eq!(record, [1, 2, 3, 4]);
}

#[test]
fn a_seqnum_session_holds_the_number_that_came_last_through_a_takeover() {
    let mut driver = Driver::<Seqnum>::new();
    assert_eq!(driver.session, None);
    driver.feed(&[0, 0, 0, 19, 0, 0, 0, 20, 0, 0]);
    assert_eq!(driver.session, Some(20));
    driver.take_over();
    assert_eq!(driver.session, Some(20));
    driver.feed(&[0, 21]);
    assert_eq!(driver.session, Some(21));
}

#[test]
fn a_record_that_is_no_seqnum_session_is_refused_with_both_numbers() {
    for bytes in [1, 2, 3, 5, 100] {
        let error = Seqnum.restore_session(1, &vec![0; bytes]).unwrap_err();
        assert_eq!(error.to_string(), format!("a saved seqnum session has {bytes} bytes, 0 or 4 are expected"));
    }
}

#[test]
fn a_line_session_is_nothing_and_anything_else_is_refused() {
    let mut record = Vec::new();
    Line::default().save_session(&(), &mut record);
    assert!(record.is_empty());
    assert_eq!(Line::default().restore_session(Line::STATE_VERSION, &record), Ok(()));
    let error = Line::default().restore_session(1, &[0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "a saved line session has 3 bytes, none are expected");
}

#[test]
fn what_a_service_saves_is_appended() {
    let mut record = b"before".to_vec();
    Seqnum.save_session(&Some(1), &mut record);
    Seqnum.save(&mut record);
    Line::default().save_session(&(), &mut record);
    Line::default().save(&mut record);
    assert_eq!(record, b"before\0\0\0\x01");
}

// ── The context ────────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_context_collects_answers_and_closes_its_own_peer() {
    let mut peers = Peers::new(0, Marks { high_bytes: 10, low_bytes: 5 }, 0);
    let mut output = Vec::new();
    let mut sessions = Sessions::new(0);
    let mut context = context::<Line>(&mut output, &mut peers, &mut sessions);
    let (own, gone) = (context.peer(), PeerId::from(99));
    assert_eq!(context.address(), Some(SocketAddr::from(([127, 0, 0, 1], 57796))));
    context.reply(b"to itself");
    assert_eq!(context.send(own, b"from the grave"), Err(SendError::Gone), "as in a call about one who is gone");
    assert_eq!(context.send(gone, b"nobody"), Err(SendError::Gone));
    context.close_peer(gone);
    assert!(!context.is_closing(), "a peer that is gone stays gone");
    context.close_peer(own);
    assert!(context.is_closing());
    assert_eq!(output, b"to itself");
}

#[test]
fn a_service_closes_a_peer_that_has_ended_unless_it_says_otherwise() {
    let mut driver = Driver::<Line>::new();
    let mut context = context(&mut driver.output, &mut driver.peers, &mut driver.sessions);
    driver.service.ended(&mut driver.session, &mut context);
    assert!(context.is_closing());
}
