//! A chat over WebSocket (RFC 6455): what one says, all others hear.
//!
//! In one terminal, start it, and in two others, come in (`pip install websockets`):
//!
//! ```sh
//! cargo run --example websocket -- 127.0.0.1:8080 /tmp/chat.takeover
//! websockets ws://127.0.0.1:8080/Ann
//! websockets ws://127.0.0.1:8080/Bob
//! ```
//!
//! Or in a browser: `chat = new WebSocket("ws://127.0.0.1:8080/Eve"); chat.onmessage = said => console.log(said.data)`, and
//! then `chat.send("hello")`. Replace it while they talk, from another terminal:
//!
//! ```sh
//! cargo run --example websocket -- /tmp/chat.takeover
//! ```
//!
//! Whoever is silent is pinged, and closed if there is no answer; when the server stops, all are told. That deadline goes on in the successor, as does a message
//! of which only the first half has come.
//!
//! In a package of your own it needs
//!
//! ```toml
//! [dependencies]
//! log = "0.4"
//! minicbor = { version = "2", features = ["derive", "std"] }
//! reactord = { path = "…", default-features = false }
//! simple_logger = { version = "5", default-features = false, features = ["stderr", "timestamps"] }
//! tungstenite = { version = "0.30", default-features = false, features = ["handshake"] }
//! ```

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::SocketAddr;
use std::time::Duration;

use minicbor::{Decode, Encode};
use reactord::{Closed, Config, Context, Listen, PeerId, RestoreError, SendError, Server, Service, Violation};
use simple_logger::SimpleLogger;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};

/// How long a message may be, whatever frames it comes in.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// How long what is asked for before the first frame may be.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Who has said nothing for so long is pinged, and then has as long to answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// One visitor.
#[derive(Encode, Decode)]
enum Visitor {
    /// It is still asking to be let in.
    #[n(0)]
    AtTheDoor,
    #[n(1)]
    Inside(#[n(0)] Talk),
}

/// What one who is inside has said.
#[derive(Encode, Decode)]
struct Talk {
    #[n(0)]
    name: String,
    /// The frames so far of a message that has more of them.
    #[n(1)]
    unfinished: Option<Vec<u8>>,
    /// It was asked for a sign of life.
    #[n(2)]
    is_pinged: bool,
}

impl Talk {
    /// Returns the text that ends with this frame.
    fn hear(&mut self, kind: Data, payload: Vec<u8>, is_final: bool) -> Result<Option<String>, Objection> {
        match (kind, &mut self.unfinished) {
            (Data::Text, unfinished @ None) => *unfinished = Some(payload),
            (Data::Continue, Some(unfinished)) => unfinished.extend(payload),
            (Data::Text, Some(_)) => return Err(Objection(CloseCode::Protocol, "the last message is unfinished")),
            (Data::Continue, None) => return Err(Objection(CloseCode::Protocol, "nothing to continue")),
            _ => return Err(Objection(CloseCode::Unsupported, "only text is spoken here")),
        }
        if self.unfinished.as_ref().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(Objection(CloseCode::Size, "too long a message"));
        }
        let text = if is_final { self.unfinished.take() } else { None };
        let text = text.map(String::from_utf8).transpose();
        text.map_err(|_| Objection(CloseCode::Invalid, "a text that is not UTF-8"))
    }
}

/// Who is inside. Sessions say it as well, so it need not be saved.
#[derive(Default)]
struct Chat(BTreeSet<u64>);

/// Why a client is to be closed, as it is told.
struct Objection(CloseCode, &'static str);

impl From<Objection> for Violation {
    fn from(Objection(code, reason): Objection) -> Self {
        Self::new(format!("{reason} ({code})"))
    }
}

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    frame.format(&mut bytes).expect("writing into a Vec does not fail");
    bytes
}

fn goodbye(code: CloseCode, reason: &'static str) -> Vec<u8> {
    bytes_of(Frame::close(Some(CloseFrame { code, reason: reason.into() })))
}

/// Where the payload of a client's frame begins and ends, if all of its header has come.
fn parse(input: &[u8]) -> Result<Option<(FrameHeader, usize, usize)>, Violation> {
    let mut cursor = Cursor::new(input);
    let parsed = FrameHeader::parse(&mut cursor).map_err(|error| Violation::new(error.to_string()))?;
    let begin = cursor.position() as usize;
    match parsed {
        Some((_, length)) if length > TEXT_BYTES_MAX as u64 => {
            Err(Violation::new(format!("a frame of {length} bytes, at most {TEXT_BYTES_MAX} are read")))
        }
        Some((header, length)) => Ok(Some((header, begin, begin + length as usize))),
        None => Ok(None),
    }
}

impl Service for Chat {
    type Session = Visitor;
    const NAME: &'static str = "chat";
    const STATE_VERSION: u32 = 1;
    /// A message, with the longest header that there is.
    const MESSAGE_BYTES_MAX: usize = TEXT_BYTES_MAX + 14;

    fn open(&mut self, context: &mut Context<'_, Self>) -> Visitor {
        context.set_deadline(context.peer(), Some(SILENCE_MAX));
        Visitor::AtTheDoor
    }

    fn boundary(&self, visitor: &mut Visitor, input: &[u8], _: usize) -> Result<Option<usize>, Violation> {
        match visitor {
            Visitor::AtTheDoor => match Request::try_parse(input) {
                Ok(Some((end, _))) => Ok(Some(end)),
                Ok(None) if input.len() <= REQUEST_BYTES_MAX => Ok(None),
                Ok(None) => Err(Violation::new(format!("a request of more than {REQUEST_BYTES_MAX} bytes"))),
                Err(error) => Err(Violation::new(error.to_string())),
            },
            Visitor::Inside(_) => Ok(parse(input)?.map(|(_, _, end)| end).filter(|end| *end <= input.len())),
        }
    }

    fn message(
        &mut self,
        visitor: &mut Visitor,
        message: &[u8],
        context: &mut Context<'_, Self>,
    ) -> Result<(), Violation> {
        context.set_deadline(context.peer(), Some(SILENCE_MAX));
        match visitor {
            Visitor::AtTheDoor => *visitor = self.let_in(message, context)?,
            Visitor::Inside(talk) => {
                talk.is_pinged = false;
                let heard = self.hear(talk, message, context);
                if let Err(Objection(code, reason)) = &heard {
                    context.reply(&goodbye(*code, reason));
                }
                heard?;
            }
        }
        Ok(())
    }

    fn deadline(&mut self, visitor: &mut Visitor, context: &mut Context<'_, Self>) {
        match visitor {
            Visitor::Inside(talk) if !talk.is_pinged => {
                talk.is_pinged = true;
                context.reply(&bytes_of(Frame::ping(&b"still there?"[..])));
                context.set_deadline(context.peer(), Some(SILENCE_MAX));
            }
            Visitor::Inside(_) | Visitor::AtTheDoor => context.close(),
        }
    }

    fn closed(&mut self, _: Visitor, _: &Closed, context: &mut Context<'_, Self>) {
        self.0.remove(&context.peer().into());
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        for peer in context.peers() {
            if let Some(Visitor::Inside(_)) = context.session(peer) {
                self.0.insert(peer.into());
            }
        }
    }

    fn stopping(&mut self, context: &mut Context<'_, Self>) {
        let goodbye = goodbye(CloseCode::Away, "the server stops");
        for visitor in self.0.iter().copied().map(PeerId::from) {
            // Who has not kept up hears the end of the connection alone.
            let _ = context.send(visitor, &goodbye);
        }
    }

    fn save_session(&self, visitor: &Visitor, record: &mut Vec<u8>) {
        minicbor::encode(visitor, record).expect("encoding into a Vec does not fail");
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Visitor, RestoreError> {
        minicbor::decode(record).map_err(|error| RestoreError::new(error.to_string()))
    }
}

impl Chat {
    /// Answers a request to speak WebSocket. Its path is the visitor's name.
    fn let_in(&mut self, request: &[u8], context: &mut Context<'_, Self>) -> Result<Visitor, Violation> {
        let (_, request) = Request::try_parse(request).ok().flatten().expect("`boundary` has found a whole one");
        let mut answer = Vec::new();
        match create_response(&request) {
            Ok(response) => write_response(&mut answer, &response).expect("writing into a Vec does not fail"),
            Err(error) => {
                context.reply(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
                return Err(Violation::new(error.to_string()));
            }
        }
        context.reply(&answer);
        self.0.insert(context.peer().into());
        let name = request.uri().path().trim_matches('/').to_owned();
        Ok(Visitor::Inside(Talk { name, unfinished: None, is_pinged: false }))
    }

    fn hear(&self, talk: &mut Talk, frame: &[u8], context: &mut Context<'_, Self>) -> Result<(), Objection> {
        let parsed = parse(frame).ok().flatten();
        let (header, begin, end) = parsed.expect("`boundary` has found a whole one");
        let mask = header.mask.ok_or(Objection(CloseCode::Protocol, "a client's frames are masked"))?;
        let payload: Vec<u8> =
            frame[begin..end].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        match header.opcode {
            OpCode::Data(kind) => {
                if let Some(text) = talk.hear(kind, payload, header.is_final)? {
                    self.tell(format!("{}: {text}", talk.name), context);
                }
            }
            OpCode::Control(Control::Ping) => context.reply(&bytes_of(Frame::pong(payload))),
            OpCode::Control(Control::Close) => {
                context.reply(&goodbye(CloseCode::Normal, ""));
                context.close();
            }
            OpCode::Control(_) => {}
        }
        Ok(())
    }

    /// Tells all who are inside what one of them says.
    fn tell(&self, text: String, context: &mut Context<'_, Self>) {
        let frame = bytes_of(Frame::message(text, OpCode::Data(Data::Text), true));
        let speaker = context.peer();
        for listener in self.0.iter().copied().map(PeerId::from).filter(|listener| *listener != speaker) {
            // Who does not keep up would miss something unawares, so it is closed instead.
            if let Err(SendError::Full { .. }) = context.send(listener, &frame) {
                context.close_peer(listener);
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    SimpleLogger::new().with_level(log::LevelFilter::Info).without_timestamps().init()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [address, path] => {
            let config = Config { takeover_path: Some(path.into()), ..Config::default() };
            let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
            let listener = Listen::on("clients", address);
            Server::new(config).service([listener], Chat::default()).serve()?;
        }
        [path] => drop(Server::new(Config::default()).service([], Chat::default()).take_over(path.as_ref())?),
        _ => return Err("usage: websocket ADDR:PORT PATH to serve, websocket PATH to take over".into()),
    }
    Ok(())
}
