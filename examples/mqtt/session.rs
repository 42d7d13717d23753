//! What is known of one client.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

/// How many messages a client may leave unacknowledged before it is given up.
const IN_FLIGHT_MAX: usize = 1000;

/// One conversation.
#[derive(Debug, Encode, Decode)]
pub(crate) enum Session {
    /// It has not said who it is.
    #[n(0)]
    Stranger,
    #[n(1)]
    Client(#[n(0)] Client),
}

#[derive(Debug, Default, Encode, Decode)]
pub(crate) struct Client {
    #[n(0)]
    pub(crate) id: String,
    /// It says something at least as often; 0 if it need not.
    #[n(1)]
    pub(crate) keep_alive_s: u16,
    /// What is published if it goes without a word.
    #[n(2)]
    pub(crate) will: Option<Message>,
    /// What it has subscribed to, with the QoS that it was granted.
    #[n(3)]
    pub(crate) filters: BTreeMap<String, u8>,
    /// What it was sent and has not acknowledged.
    #[n(4)]
    in_flight: BTreeSet<u16>,
    #[n(5)]
    packet_last: u16,
}

/// What is published.
#[derive(Clone, Debug, Encode, Decode)]
pub(crate) struct Message {
    #[n(0)]
    pub(crate) topic: String,
    #[n(1)]
    pub(crate) payload: ByteVec,
    #[n(2)]
    pub(crate) qos: u8,
    #[n(3)]
    pub(crate) retain: bool,
}

impl Client {
    pub(crate) fn new(id: String, keep_alive_s: u16, will: Option<Message>) -> Self {
        Self { id, keep_alive_s, will, ..Self::default() }
    }

    /// How long it may be silent: half as long again as it has said (MQTT 3.1.1, 3.1.2.10).
    pub(crate) fn silence_max(&self) -> Option<Duration> {
        (self.keep_alive_s > 0).then(|| Duration::from_millis(u64::from(self.keep_alive_s) * 1500))
    }

    /// A packet is sent that is to be acknowledged: returns its number, unless too many are on their way already.
    pub(crate) fn send_numbered(&mut self) -> Option<u16> {
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return None;
        }
        loop {
            self.packet_last = self.packet_last.checked_add(1).unwrap_or(1);
            if self.in_flight.insert(self.packet_last) {
                return Some(self.packet_last);
            }
        }
    }

    pub(crate) fn acknowledged(&mut self, packet: u16) {
        self.in_flight.remove(&packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_a_number_that_none_has_that_is_on_its_way() {
        let mut client = Client { packet_last: u16::MAX - 1, ..Client::default() };
        client.in_flight.insert(1);
        let numbers = [(); 3].map(|()| client.send_numbered());
        assert_eq!(numbers, [Some(u16::MAX), Some(2), Some(3)]);
        client.acknowledged(2);
        while client.send_numbered().is_some() {}
        assert_eq!(client.in_flight.len(), IN_FLIGHT_MAX);
    }
}
