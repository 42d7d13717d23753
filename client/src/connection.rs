//! One connection as a conversation: which numbers were sent, which one is expected, and whether the answers are
//! those.
//!
//! It works on bytes and instants that are passed in, and never touches a socket or a clock.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

/// A message is a sequence number of 32 bits, big-endian, and so is its answer.
pub(crate) const MESSAGE_BYTES: usize = 4;

/// What was sent and what came back on one connection.
///
/// The messages carry the numbers 0, 1, 2 and so on, and start at 0 again after the highest number that fits. They are
/// counted in 64 bits, so message 2^32 is the second one with number 0.
#[derive(Debug)]
pub(crate) struct Connection {
    /// How many messages were queued whole.
    sent: u64,
    /// How many of them were answered, each counted once.
    answered: u64,
    /// How many messages are settled: answered, or overtaken by a later answer and therefore lost.
    settled: u64,
    /// The number that the next answer must carry.
    expected: u32,
    /// The first bytes of an answer whose rest has not arrived.
    answer_begun: [u8; MESSAGE_BYTES],
    answer_begun_bytes: usize,
    /// How many bytes of the next message have been queued ahead of its rest.
    message_begun_bytes: usize,
    output: Vec<u8>,
    /// How much of `output` the socket has taken.
    output_written_bytes: usize,
    /// When each message that is not settled was sent, if round trips are wanted.
    sent_at: Option<VecDeque<Instant>>,
}

/// An answer that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) expected: u32,
    pub(crate) received: u32,
    /// When the message it answers was sent. `None` if that is not known: round trips are not wanted on this
    /// connection, or it answers nothing that was still waiting.
    pub(crate) sent_at: Option<Instant>,
}

impl Answer {
    pub(crate) fn is_discontinuity(&self) -> bool {
        self.expected != self.received
    }
}

impl Connection {
    /// A connection on which nothing was sent yet. `timed` says whether round trips are wanted.
    pub(crate) fn new(timed: bool) -> Self {
        Self {
            sent: 0,
            answered: 0,
            settled: 0,
            expected: 0,
            answer_begun: [0; MESSAGE_BYTES],
            answer_begun_bytes: 0,
            message_begun_bytes: 0,
            output: Vec::new(),
            output_written_bytes: 0,
            sent_at: timed.then(VecDeque::new),
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// How many answers are still to come.
    pub(crate) fn due(&self) -> u64 {
        self.sent - self.settled
    }

    /// Whether all that was begun has been written and answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.due() == 0 && self.message_begun_bytes == 0 && self.pending().is_empty()
    }

    /// How many bytes have arrived of an answer whose rest has not.
    pub(crate) fn answer_begun_bytes(&self) -> usize {
        self.answer_begun_bytes
    }

    /// The answers still due, for a log line.
    pub(crate) fn outstanding(&self) -> Outstanding {
        Outstanding { settled: self.settled, sent: self.sent }
    }

    /// Queues the next `count` messages.
    pub(crate) fn queue(&mut self, count: u32, now: Instant) {
        assert_eq!(self.message_begun_bytes, 0, "a message in two parts is completed before the next one");
        for _ in 0..count {
            self.output.extend_from_slice(&self.next_number().to_be_bytes());
            self.count_sent(now);
        }
    }

    /// Queues the first 1 to 3 bytes of the next message: another number of them from one message to the next.
    pub(crate) fn begin_message(&mut self) {
        assert_eq!(self.message_begun_bytes, 0, "a message in two parts is completed before the next one");
        let number = self.next_number();
        self.message_begun_bytes = 1 + (number % 3) as usize;
        self.output.extend_from_slice(&number.to_be_bytes()[..self.message_begun_bytes]);
    }

    /// Queues the rest of the message that was begun, if one was. It counts as sent only now: nobody could have
    /// answered it earlier.
    pub(crate) fn complete_message(&mut self, now: Instant) {
        if self.message_begun_bytes > 0 {
            self.output.extend_from_slice(&self.next_number().to_be_bytes()[self.message_begun_bytes..]);
            self.message_begun_bytes = 0;
            self.count_sent(now);
        }
    }

    /// What is queued and has not been written.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.output[self.output_written_bytes..]
    }

    /// Notes that the socket took the first `count` bytes of what is pending.
    pub(crate) fn note_written(&mut self, count: usize) {
        self.output_written_bytes += count;
        if self.output_written_bytes == self.output.len() {
            self.output.clear();
            self.output_written_bytes = 0;
        }
    }

    /// Takes in bytes that arrived, however they were split, and passes each answer that is whole to `on_answer`.
    ///
    /// After an answer with the wrong number, the one after that is expected next. An answer that comes after a later
    /// one is a discontinuity like a repetition, and its message stays lost: late is lost.
    pub(crate) fn receive(&mut self, mut bytes: &[u8], mut on_answer: impl FnMut(Answer)) {
        if self.answer_begun_bytes > 0 {
            let missing = (MESSAGE_BYTES - self.answer_begun_bytes).min(bytes.len());
            let (rest, after) = bytes.split_at(missing);
            self.keep_begun(rest);
            bytes = after;
            if self.answer_begun_bytes < MESSAGE_BYTES {
                return;
            }
            self.answer_begun_bytes = 0;
            let answer = self.settle(u32::from_be_bytes(self.answer_begun));
            on_answer(answer);
        }
        let (whole, begun) = bytes.as_chunks::<MESSAGE_BYTES>();
        for number in whole {
            let answer = self.settle(u32::from_be_bytes(*number));
            on_answer(answer);
        }
        self.keep_begun(begun);
    }

    fn keep_begun(&mut self, bytes: &[u8]) {
        let begun_bytes = self.answer_begun_bytes + bytes.len();
        self.answer_begun[self.answer_begun_bytes..begun_bytes].copy_from_slice(bytes);
        self.answer_begun_bytes = begun_bytes;
    }

    /// Compares an answer with what is expected, and settles the message it belongs to and those before it.
    fn settle(&mut self, received: u32) -> Answer {
        let expected = self.expected;
        self.expected = received.wrapping_add(1);

        let overtaken = u64::from(received.wrapping_sub(self.settled as u32));
        let mut sent_at = None;
        // Anything else repeats an earlier answer, or is a number that was never sent: it settles nothing.
        if overtaken < self.due() {
            self.settled += overtaken + 1;
            self.answered += 1;
            if let Some(instants) = &mut self.sent_at {
                instants.drain(..overtaken as usize);
                sent_at = instants.pop_front();
            }
        }
        Answer { expected, received, sent_at }
    }

    fn next_number(&self) -> u32 {
        self.sent as u32
    }

    fn count_sent(&mut self, now: Instant) {
        self.sent += 1;
        if let Some(instants) = &mut self.sent_at {
            instants.push_back(now);
        }
    }
}

/// The answers still due on a connection, as words: `3 answers due (21 to 23)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outstanding {
    settled: u64,
    sent: u64,
}

impl fmt::Display for Outstanding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.settled as u32, self.sent.wrapping_sub(1) as u32);
        match self.sent - self.settled {
            0 => write!(formatter, "no answer due"),
            1 => write!(formatter, "1 answer due ({first})"),
            due => write!(formatter, "{due} answers due ({first} to {last})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn stream(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    /// A connection that has sent `count` messages, the k-th at k milliseconds after the instant.
    fn connection_after(count: u32) -> (Connection, Instant) {
        let (mut connection, start) = (Connection::new(true), Instant::now());
        for k in 0..count {
            connection.queue(1, start + Duration::from_millis(k.into()));
        }
        (connection, start)
    }

    /// A connection whose next message is the one of that many, with nothing due.
    fn connection_at(position: u64) -> Connection {
        Connection {
            sent: position,
            answered: position,
            settled: position,
            expected: position as u32,
            ..Connection::new(true)
        }
    }

    fn answers(connection: &mut Connection, bytes: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        connection.receive(bytes, |answer| answers.push(answer));
        answers
    }

    fn discontinuities(connection: &mut Connection, numbers: &[u32]) -> Vec<(u32, u32)> {
        let answers = answers(connection, &stream(numbers));
        answers.iter().filter(|a| a.is_discontinuity()).map(|a| (a.expected, a.received)).collect()
    }

    #[test]
    fn answers_are_verified_at_every_split() {
        let bytes = stream(&[0, 1, 2, 3]);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let (mut connection, start) = connection_after(4);
                let mut received = Vec::new();
                for part in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    connection.receive(part, |answer| received.push(answer));
                }
                let expected: Vec<Answer> = (0..4)
                    .map(|k| Answer {
                        expected: k,
                        received: k,
                        sent_at: Some(start + Duration::from_millis(k.into())),
                    })
                    .collect();
                assert_eq!(received, expected, "split at {first} and {second}");
                assert_eq!((connection.answered(), connection.due()), (4, 0));
            }
        }
    }

    #[test]
    fn a_gap_is_found_at_every_split() {
        let bytes = stream(&[0, 2, 3]);
        for split in 0..=bytes.len() {
            let (mut connection, _) = connection_after(4);
            let mut received = answers(&mut connection, &bytes[..split]);
            received.extend(answers(&mut connection, &bytes[split..]));
            let found: Vec<_> = received.iter().filter(|answer| answer.is_discontinuity()).collect();
            assert_eq!(found.len(), 1, "split at {split}");
            assert_eq!((found[0].expected, found[0].received), (1, 2), "split at {split}");
        }
    }

    #[test]
    fn a_gap_loses_what_it_skips_and_the_rest_is_continuous() {
        let (mut connection, start) = connection_after(6);
        let received = answers(&mut connection, &stream(&[0, 1, 4, 5]));
        assert_eq!(received[2].expected, 2);
        assert_eq!(received[2].sent_at, Some(start + Duration::from_millis(4)));
        assert_eq!(received[3], Answer { expected: 5, received: 5, sent_at: Some(start + Duration::from_millis(5)) });
        assert_eq!((connection.sent(), connection.answered(), connection.due()), (6, 4, 0));
    }

    #[test]
    fn a_repetition_is_a_discontinuity_and_answers_nothing() {
        let (mut connection, _) = connection_after(4);
        assert_eq!(discontinuities(&mut connection, &[0, 1, 1, 2]), [(2, 1)]);
        assert_eq!((connection.answered(), connection.due()), (3, 1));
        let received = answers(&mut connection, &stream(&[2]));
        assert_eq!((received[0].expected, received[0].received, received[0].sent_at), (3, 2, None));
    }

    #[test]
    fn a_repeated_stretch_settles_only_what_is_new() {
        let (mut connection, _) = connection_after(6);
        assert_eq!(discontinuities(&mut connection, &[0, 1, 2, 3, 1, 2, 3, 4, 5]), [(4, 1)]);
        assert_eq!((connection.answered(), connection.due()), (6, 0));
    }

    #[test]
    fn a_late_answer_stays_lost() {
        let (mut connection, _) = connection_after(4);
        assert_eq!(discontinuities(&mut connection, &[0, 2, 1, 3]), [(1, 2), (3, 1), (2, 3)]);
        assert_eq!((connection.sent(), connection.answered(), connection.due()), (4, 3, 0));
    }

    #[test]
    fn a_number_that_was_never_sent_answers_nothing() {
        let (mut connection, _) = connection_after(2);
        assert_eq!(discontinuities(&mut connection, &[0, 7]), [(1, 7)]);
        assert_eq!((connection.answered(), connection.due()), (1, 1));

        // Right as the number is, nothing was sent yet.
        let mut connection = Connection::new(true);
        assert_eq!(answers(&mut connection, &stream(&[0]))[0].sent_at, None);
        assert_eq!(connection.answered(), 0);
    }

    #[test]
    fn numbers_wrap_around() {
        let mut connection = connection_at(u64::from(u32::MAX) - 1);
        connection.queue(4, Instant::now());
        assert_eq!(connection.pending(), stream(&[u32::MAX - 1, u32::MAX, 0, 1]));
        assert_eq!(connection.outstanding().to_string(), "4 answers due (4294967294 to 1)");
        assert_eq!(discontinuities(&mut connection, &[u32::MAX - 1, u32::MAX, 0, 1]), []);
        assert_eq!(connection.due(), 0);
    }

    #[test]
    fn a_gap_across_the_wrap_around_is_found() {
        let mut connection = connection_at(u64::from(u32::MAX));
        connection.queue(3, Instant::now());
        assert_eq!(discontinuities(&mut connection, &[1]), [(u32::MAX, 1)]);
        assert_eq!((connection.answered(), connection.due()), (u64::from(u32::MAX) + 1, 0));
    }

    #[test]
    fn a_message_in_two_parts_adds_up() {
        let mut connection = Connection::new(true);
        for number in 0..6 {
            connection.begin_message();
            let begun_bytes = connection.pending().len();
            assert_eq!(begun_bytes, 1 + number % 3);
            connection.note_written(begun_bytes);
            assert!(!connection.is_settled());
            assert_eq!(connection.due(), 0);

            connection.complete_message(Instant::now());
            assert_eq!(connection.pending(), &(number as u32).to_be_bytes()[begun_bytes..]);
            connection.note_written(MESSAGE_BYTES - begun_bytes);
            assert_eq!(discontinuities(&mut connection, &[number as u32]), []);
            assert!(connection.is_settled());
        }
        // Nothing was begun, so there is nothing to complete.
        connection.complete_message(Instant::now());
        assert_eq!(connection.sent(), 6);
    }

    #[test]
    fn what_the_socket_does_not_take_stays_pending() {
        let (mut connection, _) = connection_after(2);
        connection.note_written(3);
        assert_eq!(connection.pending(), [0, 0, 0, 0, 1]);
        connection.queue(1, Instant::now());
        connection.note_written(8);
        assert_eq!(connection.pending(), [2]);
        connection.note_written(1);
        assert!(connection.pending().is_empty());
        assert!(!connection.is_settled(), "three answers are due");
    }

    #[test]
    fn what_is_outstanding_is_said_in_words() {
        let (mut connection, _) = connection_after(24);
        answers(&mut connection, &stream(&(0..21).collect::<Vec<_>>()));
        assert_eq!(connection.outstanding().to_string(), "3 answers due (21 to 23)");
        answers(&mut connection, &stream(&[21, 22]));
        assert_eq!(connection.outstanding().to_string(), "1 answer due (23)");
        answers(&mut connection, &stream(&[23]));
        assert_eq!(connection.outstanding().to_string(), "no answer due");
    }
}
