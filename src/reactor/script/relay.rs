//! A service that echoes in four ways, all of which look the same to a client: by itself, with pauses, and by way of an
//! upstream that it is joined or coupled to. And that upstream.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::listen::Target;
use crate::peer::PeerId;
use crate::service::{Accepted, Closed, Connect, Context, RestoreError, SendError, StreamService, Violation};

/// Longer than any script.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// The first byte of a client says which way it is echoed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Undecided,
    Echoed,
    EchoedWithPauses,
    /// Held until the upstream is there.
    Waiting,
    /// An upstream that is connected for a client, and is to be joined to it or coupled.
    ToBeJoined(PeerId),
    ToBeCoupled(PeerId),
    Coupled(PeerId),
}

/// The service.
#[derive(Debug, Default)]
pub(super) struct Relay {
    pub(super) upstream: PathBuf,
}

impl Relay {
    fn decide(&self, first: u8, context: &mut Context<'_, Self>) -> Role {
        match first % 4 {
            0 => Role::Echoed,
            1 => Role::EchoedWithPauses,
            kind => {
                let client = context.peer();
                context.hold(client);
                let role = if kind == 2 { Role::ToBeJoined(client) } else { Role::ToBeCoupled(client) };
                let how = Connect::to(Target::Unix(self.upstream.clone()));
                context.connect(&how, role).expect("it listens");
                Role::Waiting
            }
        }
    }
}

impl StreamService for Relay {
    type Session = Role;
    const NAME: &'static str = "relay";
    const STATE_VERSION: u32 = 1;

    fn accepted(&mut self, _: &Accepted<'_>, _: &mut Context<'_, Self>) -> Role {
        Role::Undecided
    }

    fn input(
        &mut self,
        role: &mut Role,
        input: &[u8],
        _: usize,
        context: &mut Context<'_, Self>,
    ) -> Result<usize, Violation> {
        if *role == Role::Undecided {
            *role = self.decide(input[0], context);
        }
        match *role {
            Role::Waiting => return Ok(0),
            Role::Coupled(other) => {
                let sent = context.send(other, input);
                let is_full = matches!(sent, Err(SendError::Full { .. }));
                assert!(!is_full, "who is coupled does not come when there is no room");
            }
            _ => context.reply(input),
        }
        if *role == Role::EchoedWithPauses {
            context.hold(context.peer());
            context.set_deadline(context.peer(), Some(Duration::ZERO));
        }
        Ok(input.len())
    }

    fn connected(&mut self, role: &mut Role, context: &mut Context<'_, Self>) {
        let (client, is_joined) = match *role {
            Role::ToBeJoined(client) => (client, true),
            Role::ToBeCoupled(client) => (client, false),
            _ => panic!("{role:?} is not connected for"),
        };
        let upstream = context.peer();
        context.release(client);
        if is_joined && context.join(client, upstream, Some(IDLE)).is_err() {
            context.close();
        }
        if !is_joined && let Some(session) = context.session(client) {
            *session = Role::Coupled(upstream);
            *role = Role::Coupled(client);
            context.couple(client, upstream);
            context.couple(upstream, client);
        } else if !is_joined {
            context.close();
        }
    }

    fn deadline(&mut self, _: &mut Role, context: &mut Context<'_, Self>) {
        context.release(context.peer());
    }

    fn ended(&mut self, role: &mut Role, context: &mut Context<'_, Self>) {
        match role {
            Role::Coupled(other) => context.finish(*other),
            _ => context.finish(context.peer()),
        }
    }

    fn closed(&mut self, role: Role, _: &Closed, context: &mut Context<'_, Self>) {
        if let Role::Coupled(other) = role {
            context.close_peer(other);
        }
    }

    fn save_session(&self, role: &Role, record: &mut Vec<u8>) {
        let (number, peer) = match *role {
            Role::Undecided => (0, None),
            Role::Echoed => (1, None),
            Role::EchoedWithPauses => (2, None),
            Role::Waiting => (3, None),
            Role::ToBeJoined(client) => (4, Some(client)),
            Role::ToBeCoupled(client) => (5, Some(client)),
            Role::Coupled(other) => (6, Some(other)),
        };
        record.push(number);
        record.extend(peer.map_or(0, u64::from).to_be_bytes());
    }

    fn restore_session(&self, _: u32, record: &[u8]) -> Result<Role, RestoreError> {
        let (number, peer) = record.split_first().ok_or_else(|| RestoreError::new("no role"))?;
        let peer = PeerId::from(u64::from_be_bytes(peer.try_into().map_err(|_| RestoreError::new("no peer"))?));
        Ok(match number {
            0 => Role::Undecided,
            1 => Role::Echoed,
            2 => Role::EchoedWithPauses,
            3 => Role::Waiting,
            4 => Role::ToBeJoined(peer),
            5 => Role::ToBeCoupled(peer),
            _ => Role::Coupled(peer),
        })
    }

    fn save(&self, record: &mut Vec<u8>) {
        record.extend_from_slice(self.upstream.as_os_str().as_bytes());
    }

    fn restore(&mut self, _: u32, record: &[u8]) -> Result<(), RestoreError> {
        self.upstream = OsStr::from_bytes(record).into();
        Ok(())
    }
}

// ── The upstream ───────────────────────────────────────────────────────────────────────────────────────────────────

/// So much is echoed of each connection in one go, and no more than so much is kept.
const BYTES_AT_ONCE: usize = 4096;

/// It echoes.
#[derive(Debug)]
pub(super) struct Upstream {
    listener: UnixListener,
    path: PathBuf,
    connections: Vec<Connection>,
    /// So many bytes came by here.
    moved_bytes: usize,
}

#[derive(Debug)]
struct Connection {
    socket: UnixStream,
    pending: Vec<u8>,
    is_ended: bool,
}

impl Upstream {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reactord-relay-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("nobody else has this path");
        listener.set_nonblocking(true).expect("it can be unblocked");
        Self { listener, path, connections: Vec::new(), moved_bytes: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Echoes a little.
    pub(super) fn go_on(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true).expect("it can be unblocked");
            self.connections.push(Connection { socket, pending: Vec::new(), is_ended: false });
        }
        let moved_bytes = &mut self.moved_bytes;
        self.connections.retain_mut(|connection| connection.go_on(moved_bytes));
    }

    /// How many bytes have come and gone.
    pub(super) fn moved_bytes(&self) -> usize {
        self.moved_bytes
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        // Whoever has taken it away has done this already.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Connection {
    /// False when it is over.
    fn go_on(&mut self, moved_bytes: &mut usize) -> bool {
        let mut buffer = [0; BYTES_AT_ONCE];
        let room = BYTES_AT_ONCE - self.pending.len();
        if room > 0 && !self.is_ended {
            match self.socket.read(&mut buffer[..room]) {
                Ok(0) => self.is_ended = true,
                Ok(bytes) => {
                    self.pending.extend_from_slice(&buffer[..bytes]);
                    *moved_bytes += bytes;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
        match self.socket.write(&self.pending) {
            Ok(bytes) => {
                self.pending.drain(..bytes);
                *moved_bytes += bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        if self.is_ended && self.pending.is_empty() {
            // The other side may be gone by now.
            let _ = self.socket.shutdown(Shutdown::Write);
            return false;
        }
        true
    }
}
