//! A client of a script: what it says, how far that has come, and what it hears.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::Speech;

pub(super) struct Client {
    /// `None` if the client has vanished, or has seen the end.
    pub(super) socket: Option<UnixStream>,
    /// How it speaks, if that is TLS.
    speech: Option<Speech>,
    /// All that it was told to send.
    pub(super) input: Vec<u8>,
    /// What that is on the wire, and how much of it the kernel has taken.
    out: Vec<u8>,
    pub(super) sent: usize,
    /// So much at the end of it is not sent yet.
    kept_bytes: usize,
    pub(super) received: Vec<u8>,
    /// How many bytes that was on the wire.
    pub(super) heard_bytes: usize,
    ended: bool,
    pub(super) vanished: bool,
    pub(super) lane: usize,
}

impl Client {
    pub(super) fn new(socket: UnixStream, lane: usize, speech: Option<Speech>) -> Self {
        let [input, out, received] = [(); 3].map(|()| Vec::new());
        let (sent, kept_bytes, heard_bytes) = (0, 0, 0);
        let (ended, vanished) = (false, false);
        Self {
            socket: Some(socket),
            speech,
            input,
            out,
            sent,
            kept_bytes,
            received,
            heard_bytes,
            ended,
            vanished,
            lane,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.send_all_but(0, bytes);
    }

    /// Sends this. If it speaks TLS, so much of it only with what it does next: a part of a record.
    pub(super) fn send_all_but(&mut self, kept_bytes: usize, bytes: &[u8]) {
        if self.ended || self.is_broken() {
            return;
        }
        self.input.extend_from_slice(bytes);
        match &mut self.speech {
            Some(speech) => speech.say(bytes, &mut self.out),
            None => self.out.extend_from_slice(bytes),
        }
        self.kept_bytes = if self.speech.is_some() { kept_bytes } else { 0 };
        self.flush();
    }

    pub(super) fn update(&mut self) {
        if let Some(speech) = &mut self.speech
            && !self.ended
            && !speech.is_broken()
        {
            speech.update(&mut self.out);
        }
    }

    /// Sends a line that no server can hear. Nothing more comes from it then.
    pub(super) fn damage(&mut self, how: u8) {
        let speaks = self.speech.as_ref().is_some_and(|speech| !speech.is_broken());
        let Some(speech) = self.speech.as_mut().filter(|_| speaks && !self.ended) else { return };
        let heard = speech.damage(b"a line that is long enough for two records\n", how, &mut self.out);
        self.input.extend_from_slice(heard);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.speech.as_ref().is_some_and(Speech::is_broken)
    }

    /// Whether it may have missed what was said to it in the end.
    pub(super) fn is_lost(&self) -> bool {
        self.vanished || self.is_broken()
    }

    fn flush(&mut self) {
        let Some(socket) = &mut self.socket else { return };
        let end = self.out.len().saturating_sub(self.kept_bytes).max(self.sent);
        while self.sent < end {
            match socket.write(&self.out[self.sent..end]) {
                Ok(bytes) => self.sent += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The server has closed it; what it said before is still there.
                Err(_) => self.sent = self.out.len(),
            }
        }
        if self.ended {
            let _ = socket.shutdown(Shutdown::Write);
        }
    }

    pub(super) fn receive(&mut self, bytes_max: usize) {
        self.kept_bytes = 0;
        self.flush();
        let Some(socket) = &mut self.socket else { return };
        let mut buffer = [0; 4096];
        let mut left = bytes_max;
        while left > 0 {
            let room = left.min(buffer.len());
            match socket.read(&mut buffer[..room]) {
                Ok(0) => return self.see_end(),
                Ok(bytes) => {
                    self.heard_bytes += bytes;
                    left -= bytes;
                    match &mut self.speech {
                        Some(speech) => speech.hear(&buffer[..bytes], &mut self.received, &mut self.out),
                        None => self.received.extend_from_slice(&buffer[..bytes]),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // What it has sent is not heard, and what it was told is lost with that.
                Err(_) if self.is_broken() => return self.see_end(),
                Err(error) => panic!("after {} bytes: {error}", self.received.len()),
            }
        }
    }

    fn see_end(&mut self) {
        self.socket = None;
        let is_cut_off = self.speech.as_ref().is_some_and(|speech| !speech.is_broken() && !speech.is_ended());
        assert!(!is_cut_off, "the server says nothing of the end");
    }

    /// Sends no more than it was told to before.
    pub(super) fn half_close(&mut self) {
        self.kept_bytes = 0;
        if let Some(speech) = self.speech.as_mut().filter(|_| !self.ended) {
            speech.close(&mut self.out);
        }
        self.ended = true;
        self.flush();
    }

    pub(super) fn vanish(&mut self) {
        self.vanished |= self.socket.take().is_some();
    }
}
