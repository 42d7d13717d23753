//! The service `metrics`: how the server stands, over HTTP/1.1, for Prometheus and for whoever asks whether it lives.
//!
//! It asks the loop as any other thread would, and answers when that has answered: so the figures come from where all
//! others get them, and nobody walks over the peers for them.

mod exposition;
mod request;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use request::{Outcome, Page, Request, TEXT, parse};

use crate::peer::PeerId;
use crate::service::{Accepted, Closed, Context, RestoreError, StreamService, Violation};
use crate::status::Status;

/// So many connections are listened to at once. A further one is closed.
const CONNECTIONS_MAX: usize = 64;

/// So many of those are let in where the server is full: whoever scrapes it, and a human being or two.
const CONNECTIONS_BEYOND_MAX: usize = 8;

/// How long a request may take to come whole.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may be silent between two requests: longer than anybody scrapes apart.
const IDLE_PATIENCE: Duration = Duration::from_secs(150);

/// The format of Prometheus' text exposition.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Answers `GET /metrics` with figures in the text format of Prometheus, `/healthz` as long as the loop turns, and
/// `/readyz` as long as the server neither stops nor hands over (otherwise with 503 and the reason). All that is counted is
/// counted on by a successor. What services [have of their own](crate::StreamService::figures) comes last. A server that is
/// full answers, too: 8 connections do not count for [`Config::max_peers`](crate::Config::max_peers).
///
/// ```no_run
/// use std::net::SocketAddr;
/// use reactord::services::{Line, Metrics};
/// use reactord::{Config, Listen, Server};
///
/// # fn main() -> Result<(), reactord::Error> {
/// Server::new(Config::default())
///     .service([Listen::on("lines", SocketAddr::from(([0, 0, 0, 0], 1234)))], Line::default())
///     .service([Listen::on("metrics", SocketAddr::from(([127, 0, 0, 1], 9100)))], Metrics::default())
///     .serve()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Metrics {
    connections: usize,
    /// Who waits for an answer.
    waiting: Vec<PeerId>,
    /// What the loop has answered, since it was asked.
    answer: Arc<Mutex<Option<Status>>>,
}

/// How far the conversation on one connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What was asked for and is not answered yet.
    asked: Option<Request>,
}

impl Metrics {
    /// Somebody wants to know how the server stands. The loop is asked once for all who do.
    fn ask(&mut self, peer: PeerId, context: &Context<'_, Self>) {
        self.waiting.push(peer);
        if self.waiting.len() == 1 {
            let (answer, handle) = (Arc::clone(&self.answer), context.handle());
            context.handle().ask(move |status| {
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                handle.wake();
            });
        }
    }

    /// The loop has answered: so are those who have asked.
    fn tell(&mut self, status: &Status, context: &mut Context<'_, Self>) {
        let exposition = exposition::of(status) + &status.figures;
        for peer in std::mem::take(&mut self.waiting) {
            let Some(request) = context.session(peer).and_then(|conversation| conversation.asked.take()) else {
                continue;
            };
            let answer = match request.page {
                Page::Metrics => request.answer(200, EXPOSITION, &exposition),
                Page::Ready => readiness(request, status),
            };
            let sent = context.send(peer, &answer);
            if request.is_last || sent.is_err() {
                context.close_peer(peer);
            } else {
                context.set_deadline(peer, Some(IDLE_PATIENCE));
                context.release(peer);
            }
        }
    }

    /// Answers one request, or sees to it that it will be. Says how many bytes of the input it took.
    fn hear(
        &mut self,
        conversation: &mut Conversation,
        input: &[u8],
        is_new: bool,
        context: &mut Context<'_, Self>,
    ) -> usize {
        match parse(input) {
            Outcome::Partial => {
                if is_new {
                    context.set_deadline(context.peer(), Some(REQUEST_PATIENCE));
                }
                0
            }
            Outcome::Asked { request, bytes } => {
                conversation.asked = Some(request);
                context.hold(context.peer());
                self.ask(context.peer(), context);
                bytes
            }
            Outcome::Answered { answer, bytes, is_last } => {
                context.reply(&answer);
                context.set_deadline(context.peer(), Some(IDLE_PATIENCE));
                if is_last {
                    context.close();
                }
                bytes
            }
        }
    }
}

/// Whether somebody should be sent here.
fn readiness(request: Request, status: &Status) -> Vec<u8> {
    match (status.is_stopping, status.successor_pid) {
        (true, _) => request.answer(503, TEXT, "stopping\n"),
        (false, Some(pid)) => request.answer(503, TEXT, &format!("handing over to pid {pid}\n")),
        (false, None) => request.answer(200, TEXT, "ready\n"),
    }
}

impl StreamService for Metrics {
    type Session = Conversation;
    const NAME: &'static str = "metrics";
    const STATE_VERSION: u32 = 1;
    const PEERS_BEYOND_MAX: usize = CONNECTIONS_BEYOND_MAX;
    const INPUT_BYTES_MAX: usize = 2 * request::BYTES_MAX;

    fn accepted(&mut self, _: &Accepted<'_>, context: &mut Context<'_, Self>) -> Conversation {
        self.connections += 1;
        if self.connections > CONNECTIONS_MAX {
            context.close();
        }
        context.set_deadline(context.peer(), Some(REQUEST_PATIENCE));
        Conversation::default()
    }

    fn input(
        &mut self,
        conversation: &mut Conversation,
        input: &[u8],
        searched: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        let mut used = 0;
        while used < input.len() && conversation.asked.is_none() && !context.is_stopping() && !context.is_full() {
            match self.hear(conversation, &input[used..], searched == 0, context) {
                0 => break,
                bytes => used += bytes,
            }
        }
        Ok(used)
    }

    fn ended(&mut self, conversation: &mut Conversation, context: &mut Context<'_, Self>) {
        match &mut conversation.asked {
            Some(request) => request.is_last = true,
            None => context.close(),
        }
    }

    fn closed(&mut self, _: Conversation, _: &Closed, context: &mut Context<'_, Self>) {
        self.connections -= 1;
        let gone = context.peer();
        if self.waiting.len() > 1 {
            // Whoever is the only one is left out when the answer comes, so that it is not asked for twice.
            self.waiting.retain(|peer| *peer != gone);
        }
    }

    fn woken(&mut self, context: &mut Context<'_, Self>) {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(status) = answer {
            self.tell(&status, context);
        }
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        let peers = context.peers();
        self.connections = peers.len();
        for peer in peers {
            // What the predecessor's loop was asked, it has not answered any more.
            if context.session(peer).is_some_and(|conversation| conversation.asked.is_some()) {
                self.ask(peer, context);
            }
        }
    }

    fn save_session(&self, conversation: &Conversation, record: &mut Vec<u8>) {
        record.extend(conversation.asked.map(Request::to_byte));
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Conversation, RestoreError> {
        match record {
            [] => Ok(Conversation::default()),
            [byte] => Ok(Conversation { asked: Some(Request::from_byte(*byte)?) }),
            _ => Err(RestoreError::new(format!("a saved request has {} bytes, 0 or 1 are expected", record.len()))),
        }
    }
}

#[cfg(test)]
mod tests;
