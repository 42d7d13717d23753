//! What a client has sent, executed as far as it has come.

use minicbor::bytes::{ByteSlice, ByteVec};
use reactord::{Context, SendError, StreamService};

use super::channels::Channels;
use super::commands::{ARGUMENTS_MAX, Expires, NOT_AN_INTEGER, SetOptions, Way, Whole, find, number};
use super::reply::{Protocol, Reply};
use super::session::{Session, Unfinished, Verb};
use super::store::{NEVER, Store};
use super::words::{Malformed, Words};

/// How many channels one client may subscribe to. What is kept of it is sent to a successor whenever that changes.
const CHANNELS_MAX: usize = 1000;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) channels: Channels,
}

/// A call of the service, about one client.
pub(crate) struct Call<'c, 'x, S: StreamService> {
    pub(crate) shared: &'c mut Shared,
    pub(crate) session: &'c mut Session,
    pub(crate) context: &'c mut Context<'x, S>,
    pub(crate) now_ms: u64,
}

impl<S: StreamService> Call<'_, '_, S> {
    /// Executes what has come, and returns how many bytes it was. The rest is the beginning of something.
    pub(crate) fn execute(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        let mut used = 0;
        while used < input.len() && self.may_go_on() {
            match self.advance(&input[used..])? {
                0 => break,
                more => used += more,
            }
        }
        Ok(used)
    }

    fn may_go_on(&self) -> bool {
        !self.context.is_full() && !self.context.is_stopping()
    }

    /// Executes one command, or as much of one as there is.
    fn advance(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        match self.session.unfinished.take() {
            Some(unfinished) => self.go_on(unfinished, Words::within(input, unfinished.form)),
            None => self.begin(input),
        }
    }

    fn begin(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        let Some((mut words, count)) = Words::of_command(input)? else { return Ok(0) };
        let Some(arguments) = count.checked_sub(1) else {
            words.end();
            return Ok(words.at());
        };
        let Some(name) = words.next()? else { return Ok(0) };
        let verb = match find(name, arguments).and_then(|way| self.admit(way)) {
            Ok(Way::Whole(whole)) => return self.execute_whole(whole, arguments, words),
            Ok(Way::Each(verb)) => verb,
            Err(refusal) => {
                self.context.error(refusal);
                Verb::PassOver
            }
        };
        if verb == Verb::GetEach {
            self.context.array(arguments);
        }
        self.go_on(Unfinished { verb, form: words.form(), words_left: arguments, found: 0 }, words)
    }

    /// A client that has subscribed is told what it has not asked for; that must not come into the middle of an answer.
    fn admit(&self, way: Way) -> Result<Way, String> {
        const IN_RESP2: [Way; 5] = [
            Way::Each(Verb::Subscribe),
            Way::Each(Verb::Unsubscribe),
            Way::Whole(Whole::UnsubscribeAll),
            Way::Whole(Whole::Ping),
            Way::Whole(Whole::Quit),
        ];
        let subscribed = !self.session.channels.is_empty();
        match self.session.protocol {
            Protocol::Resp2 if subscribed && !IN_RESP2.contains(&way) => {
                Err("only SUBSCRIBE / UNSUBSCRIBE / PING / QUIT are allowed in this context".into())
            }
            Protocol::Resp3 if subscribed && way == Way::Each(Verb::GetEach) => {
                Err("MGET is not for who has subscribed".into())
            }
            _ => Ok(way),
        }
    }

    // ── Word by word ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Executes a command for as many of its words as there are.
    fn go_on(&mut self, mut unfinished: Unfinished, mut words: Words<'_>) -> Result<usize, Malformed> {
        while unfinished.words_left > 0 && self.may_go_on() {
            let begin = words.at();
            let Some(word) = words.next()? else { break };
            let value = if unfinished.verb == Verb::SetEach { words.next()? } else { Some(&[][..]) };
            let Some(value) = value else {
                words.back_to(begin);
                break;
            };
            unfinished.words_left -= if unfinished.verb == Verb::SetEach { 2 } else { 1 };
            unfinished.found += i64::from(self.execute_for(unfinished.verb, word, value));
        }
        if unfinished.words_left > 0 {
            self.session.unfinished = Some(unfinished);
        } else {
            words.end();
            self.finish(unfinished);
        }
        Ok(words.at())
    }

    /// Says whether there was something.
    fn execute_for(&mut self, verb: Verb, word: &[u8], value: &[u8]) -> bool {
        let Self { shared, session, context, now_ms } = self;
        match verb {
            Verb::Delete => return shared.store.remove(word, *now_ms),
            Verb::Exists => return shared.store.get(word, *now_ms).is_some(),
            Verb::GetEach => context.bulk_or_null(shared.store.get(word, *now_ms), session.protocol),
            Verb::SetEach => shared.store.set(word, value, NEVER),
            Verb::Subscribe => self.subscribe(word),
            Verb::Unsubscribe => self.unsubscribe(word),
            Verb::PassOver => {}
        }
        false
    }

    fn finish(&mut self, unfinished: Unfinished) {
        match unfinished.verb {
            Verb::Delete | Verb::Exists => self.context.integer(unfinished.found),
            Verb::SetEach => self.context.ok(),
            Verb::GetEach | Verb::Subscribe | Verb::Unsubscribe | Verb::PassOver => {}
        }
    }

    // ── As a whole ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn execute_whole(&mut self, whole: Whole, count: usize, mut words: Words<'_>) -> Result<usize, Malformed> {
        let mut arguments = [&[][..]; ARGUMENTS_MAX];
        let arguments = &mut arguments[..count];
        for argument in arguments.iter_mut() {
            match words.next()? {
                Some(word) => *argument = word,
                None => return Ok(0),
            }
        }
        words.end();
        if let Err(refusal) = self.answer(whole, arguments) {
            self.context.error(refusal);
        }
        Ok(words.at())
    }

    fn answer(&mut self, whole: Whole, arguments: &[&[u8]]) -> Result<(), &'static str> {
        let Self { shared: Shared { store, .. }, session, context, now_ms } = self;
        match (whole, arguments) {
            (Whole::Get, [key]) => context.bulk_or_null(store.get(key, *now_ms), session.protocol),
            (Whole::Set, [key, value, options @ ..]) => return self.set(key, value, options),
            (Whole::Add { sign }, [key, times @ ..]) => return self.add(key, sign, times.first().copied()),
            (Whole::Expire { unit_ms }, [key, time]) => return self.expire(key, time, unit_ms),
            (Whole::Persist, [key]) => self.persist(key),
            (Whole::Ttl { unit_ms }, [key]) => self.ttl(key, unit_ms),
            (Whole::DbSize, []) => context.integer(store.len() as i64),
            (Whole::FlushAll, _) => {
                store.clear();
                context.ok();
            }
            (Whole::Ping, text) => self.ping(text.first()),
            (Whole::Echo, [text]) => context.bulk(text),
            (Whole::Publish, [channel, text]) => self.publish(channel, text),
            (Whole::UnsubscribeAll, []) => self.unsubscribe_all(),
            (Whole::Hello, options) => return self.hello(options),
            (Whole::Client, [what, ..]) => return self.client(what),
            (Whole::Command, _) => context.map(0, session.protocol),
            (Whole::ConfigGet, [_, parameter]) => self.config_get(parameter),
            (Whole::Info, _) => self.info(),
            (Whole::Select, [b"0"]) => context.ok(),
            (Whole::Select, _) => return Err("DB index is out of range"),
            (Whole::Quit, []) => {
                context.ok();
                context.close();
            }
            _ => return Err("syntax error"),
        }
        Ok(())
    }

    // ── Values ─────────────────────────────────────────────────────────────────────────────────────────────────────

    fn set(&mut self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Result<(), &'static str> {
        let store = &mut self.shared.store;
        let mut expires_ms = NEVER;
        if !options.is_empty() {
            let SetOptions { expires, if_exists } = SetOptions::parse(options)?;
            let before = store.expires_ms(key, self.now_ms);
            if if_exists.is_some_and(|wanted| wanted != before.is_some()) {
                self.context.bulk_or_null(None, self.session.protocol);
                return Ok(());
            }
            expires_ms = match expires {
                Some(Expires::AfterMs(after_ms)) => self.now_ms.saturating_add(after_ms),
                Some(Expires::AsBefore) => before.unwrap_or(NEVER),
                None => NEVER,
            };
        }
        store.set(key, value, expires_ms);
        self.context.ok();
        Ok(())
    }

    fn add(&mut self, key: &[u8], sign: i64, times: Option<&[u8]>) -> Result<(), &'static str> {
        let more = times.map_or(Some(1), number).and_then(|times| times.checked_mul(sign)).ok_or(NOT_AN_INTEGER)?;
        let sum = self.shared.store.add(key, more, self.now_ms).map_err(|_| NOT_AN_INTEGER)?;
        self.context.integer(sum);
        Ok(())
    }

    fn expire(&mut self, key: &[u8], time: &[u8], unit_ms: u64) -> Result<(), &'static str> {
        let time = number(time).ok_or(NOT_AN_INTEGER)?;
        let after_ms = u64::try_from(time).unwrap_or(0).checked_mul(unit_ms).ok_or("invalid expire time")?;
        let store = &mut self.shared.store;
        let exists = store.get(key, self.now_ms).is_some();
        if exists {
            store.reschedule(key, self.now_ms.saturating_add(after_ms));
        }
        self.context.integer(exists.into());
        Ok(())
    }

    fn persist(&mut self, key: &[u8]) {
        let store = &mut self.shared.store;
        let expires = store.expires_ms(key, self.now_ms).is_some_and(|expires_ms| expires_ms != NEVER);
        if expires {
            store.reschedule(key, NEVER);
        }
        self.context.integer(expires.into());
    }

    fn ttl(&mut self, key: &[u8], unit_ms: u64) {
        self.context.integer(match self.shared.store.expires_ms(key, self.now_ms) {
            None => -2,
            Some(NEVER) => -1,
            Some(expires_ms) => ((expires_ms - self.now_ms + unit_ms / 2) / unit_ms).cast_signed(),
        });
    }

    // ── Channels ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn subscribe(&mut self, channel: &[u8]) {
        let Self { shared, session, context, .. } = self;
        if session.channels.len() >= CHANNELS_MAX && !session.channels.contains(<&ByteSlice>::from(channel)) {
            return context.error(format_args!("no more than {CHANNELS_MAX} channels"));
        }
        session.channels.insert(channel.to_vec().into());
        shared.channels.subscribe(channel, context.peer(), session.protocol);
        self.tell_subscription("subscribe", Some(channel));
    }

    fn unsubscribe(&mut self, channel: &[u8]) {
        self.session.channels.remove(<&ByteSlice>::from(channel));
        self.shared.channels.unsubscribe(channel, self.context.peer());
        self.tell_subscription("unsubscribe", Some(channel));
    }

    fn unsubscribe_all(&mut self) {
        let channels: Vec<ByteVec> = self.session.channels.iter().cloned().collect();
        channels.iter().for_each(|channel| self.unsubscribe(channel));
        if channels.is_empty() {
            self.tell_subscription("unsubscribe", None);
        }
    }

    fn tell_subscription(&mut self, what: &str, channel: Option<&[u8]>) {
        let Self { session, context, .. } = self;
        context.push_of(3, session.protocol);
        context.bulk(what.as_bytes());
        context.bulk_or_null(channel, session.protocol);
        context.integer(session.channels.len() as i64);
    }

    fn publish(&mut self, channel: &[u8], text: &[u8]) {
        let message = |protocol| {
            let mut message = Vec::new();
            message.push_of(3, protocol);
            [b"message", channel, text].iter().for_each(|part| message.bulk(part));
            message
        };
        let (resp2, resp3) = (message(Protocol::Resp2), message(Protocol::Resp3));
        let mut told = 0;
        for (peer, protocol) in self.shared.channels.subscribers(channel) {
            let message = if protocol == Protocol::Resp2 { &resp2 } else { &resp3 };
            match self.context.send(peer, message) {
                Ok(()) => told += 1,
                // It would miss a message unawares, so it is closed instead.
                Err(SendError::Full { .. }) => self.context.close_peer(peer),
                Err(_) => {}
            }
        }
        self.context.integer(told);
    }

    // ── Formalities ────────────────────────────────────────────────────────────────────────────────────────────────

    fn ping(&mut self, text: Option<&&[u8]>) {
        let Self { session, context, .. } = self;
        match text {
            text if session.protocol == Protocol::Resp2 && !session.channels.is_empty() => {
                context.array(2);
                context.bulk(b"pong");
                context.bulk(text.unwrap_or(&&[][..]));
            }
            Some(text) => context.bulk(text),
            None => context.simple("PONG"),
        }
    }

    fn hello(&mut self, options: &[&[u8]]) -> Result<(), &'static str> {
        let Self { shared, session, context, .. } = self;
        session.protocol = match options.first().copied() {
            None => session.protocol,
            Some(b"2") => Protocol::Resp2,
            Some(b"3") => Protocol::Resp3,
            Some(_) => {
                context.raw(b"-NOPROTO unsupported protocol version\r\n");
                return Ok(());
            }
        };
        for channel in &session.channels {
            shared.channels.subscribe(channel, context.peer(), session.protocol);
        }
        let version = if session.protocol == Protocol::Resp2 { 2 } else { 3 };
        context.map(4, session.protocol);
        for (name, value) in [("server", "reactord"), ("version", VERSION), ("mode", "standalone")] {
            context.bulk(name.as_bytes());
            context.bulk(value.as_bytes());
        }
        context.bulk(b"proto");
        context.integer(version);
        Ok(())
    }

    fn client(&mut self, what: &[u8]) -> Result<(), &'static str> {
        match &what.to_ascii_uppercase()[..] {
            b"SETINFO" | b"SETNAME" => self.context.ok(),
            b"ID" => self.context.integer(u64::from(self.context.peer()).cast_signed()),
            _ => return Err("unknown subcommand"),
        }
        Ok(())
    }

    fn config_get(&mut self, parameter: &[u8]) {
        let Self { session, context, .. } = self;
        let value: &[u8] = match &parameter.to_ascii_lowercase()[..] {
            b"save" => b"",
            b"appendonly" => b"no",
            _ => return context.map(0, session.protocol),
        };
        context.map(1, session.protocol);
        context.bulk(parameter);
        context.bulk(value);
    }

    fn info(&mut self) {
        let keys = self.shared.store.len();
        let info = format!("# Server\r\nredis_version:{VERSION}\r\n# Keyspace\r\ndb0:keys={keys}\r\n");
        self.context.bulk(info.as_bytes());
    }
}

/// Which version of the original this is like, as far as it goes.
const VERSION: &str = "7.0.0";
