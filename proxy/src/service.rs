//! The service `proxy`: clients, the connections to servers that they are joined to, and checks.
//!
//! | where | what it owns |
//! | --- | --- |
//! | `state.rs` | the proxy as a value |
//! | `session.rs` | what is known of one connection, and how a successor is told |
//! | `coming.rs` | a client comes: whether it may, and what it has to say first |
//! | `leading.rs` | which server it is led to, and the connection there |
//! | `ending.rs` | what it means that a connection is gone |
//! | `checking.rs`, `resolving.rs` | whether servers are up, and where those are that have names |
//! | `succeeding.rs` | what a successor makes of what it has inherited |
//! | `asked.rs`, `figures.rs` | what operators ask, and what is counted |
//! | `roll.rs`, `doings.rs`, `rates.rs`, `refusal.rs`, `timers.rs` | names with numbers, and small values |

mod asked;
mod checking;
mod coming;
mod doings;
mod ending;
mod figures;
mod leading;
mod rates;
mod refusal;
mod resolving;
mod roll;
mod session;
mod state;
mod succeeding;
mod timers;

use reactord::{Accepted, Closed, Context, Entries, RestoreError, StreamService, Violation};

use session::Session;
pub use state::Proxy;
use timers::{CHECKS, EJECTION_ENDS, LINES_LEFT_OUT};

/// The name of the service.
pub const NAME: &str = "proxy";

impl StreamService for Proxy {
    type Session = Session;
    const NAME: &'static str = NAME;
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, how: &Accepted<'_>, context: &mut Context<'_, Self>) -> Session {
        let session = self.accept(how, context);
        self.remember_left_out(context);
        session
    }

    fn room(&self, listener: &str, arriving: &dyn Fn(&str) -> usize) -> usize {
        self.room_at(listener, arriving)
    }

    fn input(
        &mut self,
        session: &mut Session,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        match session {
            Session::Coming(_) => self.hear(session, input, context),
            Session::Check(probe) => self.hear_server(probe, input, context),
            // What a server says before its client is joined to it waits for that.
            Session::Server(_) | Session::Client(_) | Session::Told(_) | Session::InHand => Ok(0),
        }
    }

    fn ended(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        match session {
            Session::Coming(_) => self.ended_early(session, context),
            Session::Check(_) => context.close(),
            Session::Server(_) | Session::Client(_) | Session::Told(_) | Session::InHand => {}
        }
    }

    fn half_closed(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        let client = match session {
            Session::Server(served) => context.session(served.client).and_then(Session::client_mut),
            session => session.client_mut(),
        };
        let Some(client) = client else { return };
        client.is_half_closed = true;
        let listener = client.listener;
        self.bound_half_closed(context.peer(), listener, context);
    }

    fn deadline(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        match session {
            Session::Coming(_) => self.overdue(session, context),
            // A check that takes too long, or a connection that was let go on for a while.
            _ => context.close(),
        }
        self.remember_left_out(context);
    }

    fn connected(&mut self, session: &mut Session, context: &mut Context<'_, Self>) {
        match session {
            Session::Server(served) => self.stands(*served, context),
            Session::Check(probe) => self.reached(probe, context),
            Session::Coming(_) | Session::Client(_) | Session::Told(_) | Session::InHand => {}
        }
    }

    fn closed(&mut self, session: Session, how: &Closed, context: &mut Context<'_, Self>) {
        self.part(session, how, context);
        self.remember_left_out(context);
    }

    fn started(&mut self, context: &mut Context<'_, Self>) {
        self.begin_checks(context);
        self.resolve_names(context);
    }

    fn taken_over(&mut self, context: &mut Context<'_, Self>) {
        self.succeed(context);
    }

    fn timer(&mut self, timer: u32, context: &mut Context<'_, Self>) {
        match timer {
            CHECKS => self.check_those_due(context),
            EJECTION_ENDS => self.ejection_ended(context),
            LINES_LEFT_OUT => self.say_left_out(context),
            _ => {}
        }
    }

    fn stopping(&mut self, _: &mut Context<'_, Self>) {
        self.is_stopping = true;
    }

    fn woken(&mut self, context: &mut Context<'_, Self>) {
        self.hear_resolver(context);
    }

    fn asked(&mut self, question: &[u8], context: &mut Context<'_, Self>) -> Result<Vec<u8>, String> {
        self.answer(question, context).map(String::into_bytes)
    }

    fn figures(&self, exposition: &mut String) {
        self.write_figures(exposition);
    }

    fn save_session(&self, session: &Session, record: &mut Vec<u8>) {
        session.save(&self.listeners, &self.servers, record);
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Session, RestoreError> {
        Session::restore(&self.listeners, &self.servers, record)
    }

    fn entries(&mut self, map: usize) -> Option<&mut dyn Entries> {
        match map {
            0 => Some(&mut self.standings),
            1 => Some(&mut self.doings),
            2 => Some(&mut self.texts),
            3 => Some(&mut self.queued),
            _ => None,
        }
    }
}
