//! The broker itself.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PingResp, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode,
    UnsubAck,
};
use mqttbytes::{Error, Protocol, QoS, check};
use reactord::{Closed, Context, Entries, Keyed, PeerId, RestoreError, Save, SendError, Service, Violation};

use super::session::{Client, Message, Session};
use super::topics::{Subscriptions, is_filter, is_topic, matches};

/// How long a packet may be. The standard allows 256 MiB, and a server to have less.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// Who has not said for so long who it is will not do so.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What is to be said to whoever subscribes to a topic.
pub(crate) struct Retained {
    qos: u8,
    payload: Vec<u8>,
}

impl Save for Retained {
    fn save(&self, record: &mut Vec<u8>) {
        self.qos.save(record);
        self.payload.save(record);
    }

    fn restore(version: u32, record: &[u8]) -> Result<Self, RestoreError> {
        let (qos, payload) = record.split_first().ok_or_else(|| RestoreError::new("an empty message"))?;
        Ok(Self { qos: *qos, payload: Vec::restore(version, payload)? })
    }
}

/// What all clients share.
#[derive(Default)]
pub(crate) struct Broker {
    retained: Keyed<String, Retained>,
    subscriptions: Subscriptions,
    /// Clients by their ids.
    clients: BTreeMap<String, PeerId>,
}

fn violation(error: Error) -> Violation {
    Violation::new(error.to_string())
}

/// What is written by the codec, which fails only for what is longer than MQTT allows.
fn bytes_of(write: impl FnOnce(&mut BytesMut) -> Result<usize, Error>) -> BytesMut {
    let mut bytes = BytesMut::new();
    write(&mut bytes).expect("nothing is longer than what a client has sent");
    bytes
}

fn qos_of(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

impl Service for Broker {
    type Session = Session;
    const NAME: &'static str = "mqtt";
    const STATE_VERSION: u32 = 1;
    const MESSAGE_BYTES_MAX: usize = PACKET_BYTES_MAX + 5;

    fn open(&mut self, context: &mut Context<'_, Self>) -> Session {
        context.set_deadline(context.peer(), Some(CONNECT_WITHIN));
        Session::Stranger
    }

    fn boundary(&self, _: &mut Session, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        match check(input.iter(), PACKET_BYTES_MAX) {
            Ok(header) => Ok(Some(header.frame_length())),
            Err(Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(violation(error)),
        }
    }

    fn message(
        &mut self,
        session: &mut Session,
        packet: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        let packet = mqttbytes::v4::read(&mut packet.into(), PACKET_BYTES_MAX).map_err(violation)?;
        match (session, packet) {
            (session @ Session::Stranger, Packet::Connect(connect)) => *session = self.connect(connect, context)?,
            (Session::Client(client), packet) => {
                context.set_deadline(context.peer(), client.silence_max());
                self.answer(client, packet, context)?;
            }
            (Session::Stranger, _) => return Err(Violation::new("the first packet is no CONNECT")),
        }
        Ok(())
    }

    fn closed(&mut self, session: Session, _: &Closed, context: &mut Context<'_, Self>) {
        let (Session::Client(client), peer) = (session, context.peer()) else { return };
        client.filters.keys().for_each(|filter| self.subscriptions.remove(filter, peer));
        if self.clients.get(&client.id) == Some(&peer) {
            self.clients.remove(&client.id);
        }
        if let Some(will) = client.will {
            self.publish(will, None, context);
        }
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        for peer in context.peers() {
            let Some(Session::Client(client)) = context.session(peer) else { continue };
            client.filters.iter().for_each(|(filter, qos)| self.subscriptions.insert(filter, peer, *qos));
            self.clients.insert(client.id.clone(), peer);
        }
    }

    fn save_session(&self, session: &Session, record: &mut Vec<u8>) {
        minicbor::encode(session, record).expect("encoding into a Vec does not fail");
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Session, RestoreError> {
        minicbor::decode(record).map_err(|error| RestoreError::new(error.to_string()))
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        (map == 0).then_some(&mut self.retained)
    }
}

impl Broker {
    fn connect(&mut self, connect: Connect, context: &mut Context<'_, Self>) -> Result<Session, Violation> {
        let Connect { protocol, keep_alive, mut client_id, clean_session, last_will, .. } = connect;
        let code = match protocol {
            Protocol::V4 if client_id.is_empty() && !clean_session => ConnectReturnCode::BadClientId,
            Protocol::V4 => ConnectReturnCode::Success,
            Protocol::V5 => ConnectReturnCode::RefusedProtocolVersion,
        };
        context.reply(&bytes_of(|bytes| ConnAck::new(code, false).write(bytes)));
        if code != ConnectReturnCode::Success {
            return Err(Violation::new(format!("refused: {code:?}")));
        }
        if client_id.is_empty() {
            client_id = format!("client {}", u64::from(context.peer()));
        }
        // There is one client of a name, the last that has come.
        if let Some(before) = self.clients.insert(client_id.clone(), context.peer()) {
            context.close_peer(before);
        }
        let will = last_will.map(|will| Message {
            topic: will.topic,
            payload: will.message.to_vec().into(),
            qos: will.qos as u8,
            retain: will.retain,
        });
        let client = Client::new(client_id, keep_alive, will);
        context.set_deadline(context.peer(), client.silence_max());
        Ok(Session::Client(client))
    }

    fn answer(
        &mut self,
        client: &mut Client,
        packet: Packet,
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        match packet {
            Packet::Publish(publish) => self.take(publish, client, context)?,
            Packet::PubAck(acknowledged) => client.acknowledged(acknowledged.pkid),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe, client, context),
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.topics {
                    client.filters.remove(filter);
                    self.subscriptions.remove(filter, context.peer());
                }
                context.reply(&bytes_of(|bytes| UnsubAck::new(unsubscribe.pkid).write(bytes)));
            }
            Packet::PingReq => context.reply(&bytes_of(|bytes| PingResp.write(bytes))),
            Packet::Disconnect => {
                client.will = None;
                context.close();
            }
            _ => return Err(Violation::new("a packet that no client sends")),
        }
        Ok(())
    }

    /// Takes what a client publishes.
    fn take(
        &mut self,
        publish: Publish,
        client: &mut Client,
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        let Publish { qos, retain, topic, pkid, payload, .. } = publish;
        if qos == QoS::ExactlyOnce || !is_topic(&topic) {
            return Err(Violation::new(format!("a message of {qos:?} about {topic:?}")));
        }
        let message = Message { topic, payload: payload.to_vec().into(), qos: qos as u8, retain };
        self.publish(message, Some(client), context);
        if qos == QoS::AtLeastOnce {
            context.reply(&bytes_of(|bytes| PubAck::new(pkid).write(bytes)));
        }
        Ok(())
    }

    /// Sends a message to all who have subscribed to it, the one who has sent it among them.
    fn publish(&mut self, message: Message, mut sender: Option<&mut Client>, context: &mut Context<'_, Self>) {
        for (peer, qos) in self.subscriptions.subscribers(&message.topic) {
            let qos = qos.min(message.qos);
            deliver(&message.topic, &message.payload, qos, false, peer, sender.as_deref_mut(), context);
        }
        if message.retain && message.payload.is_empty() {
            self.retained.remove(&message.topic);
        } else if message.retain {
            let payload = message.payload.into();
            self.retained.insert(message.topic, Retained { qos: message.qos, payload });
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe, client: &mut Client, context: &mut Context<'_, Self>) {
        let mut codes = Vec::new();
        for filter in &subscribe.filters {
            let qos = (filter.qos as u8).min(1);
            codes.push(if is_filter(&filter.path) {
                client.filters.insert(filter.path.clone(), qos);
                self.subscriptions.insert(&filter.path, context.peer(), qos);
                SubscribeReasonCode::Success(qos_of(qos))
            } else {
                SubscribeReasonCode::Failure
            });
        }
        context.reply(&bytes_of(|bytes| SubAck::new(subscribe.pkid, codes).write(bytes)));
        let peer = context.peer();
        for filter in &subscribe.filters {
            let about = self.retained.iter().filter(|(topic, _)| matches(&filter.path, topic));
            for (topic, Retained { qos, payload }) in about {
                let qos = (filter.qos as u8).min(*qos).min(1);
                deliver(topic, payload, qos, true, peer, Some(client), context);
            }
        }
    }
}

/// Sends a message to one client. `own` is the one that the call is about, if there is one.
fn deliver(
    topic: &str,
    payload: &[u8],
    qos: u8,
    retain: bool,
    peer: PeerId,
    own: Option<&mut Client>,
    context: &mut Context<'_, Broker>,
) {
    let mut publish = Publish::new(topic, qos_of(qos), payload);
    publish.retain = retain;
    if qos > 0 {
        let numbered = match own {
            Some(own) if peer == context.peer() => own.send_numbered(),
            _ => match context.session(peer) {
                Some(Session::Client(client)) => client.send_numbered(),
                _ => return,
            },
        };
        // Who acknowledges nothing would miss a message unawares, so it is closed instead.
        let Some(packet) = numbered else { return context.close_peer(peer) };
        publish.pkid = packet;
    }
    let sent = context.send(peer, &bytes_of(|bytes| publish.write(bytes)));
    // Who does not keep up may miss a message of QoS 0, and no other.
    if qos > 0 && matches!(sent, Err(SendError::Full { .. })) {
        context.close_peer(peer);
    }
}
