//! Output: standard error that is closed, that nobody reads, that is on a full disk or over the limit of a file's size,
//! in a pipe that others fill, and a terminal that is stopped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use nix::pty::openpty;
use nix::unistd::ttyname;

use crate::harness::{PATIENCE, Peer, Place, Server, StopAtEnd, daemon, exchange_all, skip};

/// A successor that logs every message, on a standard error of its own.
fn mute(path: &Path, redirection: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("exec {redirection}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_reactord"), "-v", "-T"]).arg(path);
    command
}

/// A server with peers, and a successor whose standard error goes where the shell leads it, and who has taken over.
#[track_caller]
fn taken_over_by_mute(place: &Place, redirection: &str) -> (Server, Vec<Peer>) {
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let mute = Server::spawn(&place.path(), &mut mute(&place.path(), redirection));
    assert_eq!(predecessor.exit_code(), 0);
    exchange_all(&mut peers);
    (mute, peers)
}

/// Another one, which can be heard, takes over in turn.
#[track_caller]
fn end_with_a_takeover(place: &Place, mute: &Server, mut peers: Vec<Peer>) {
    let successor = Server::take_over(&place.path(), "");
    successor.wait_for_line(|line| line.contains("Took over 10 peers "));
    assert_eq!(mute.exit_code(), 0);
    exchange_all(&mut peers);
    successor.stop_with(peers);
}

#[test]
fn server_without_standard_error_serves_and_is_taken_over() {
    let place = Place::new();
    let (mute, mut peers) = taken_over_by_mute(&place, "2>&-");
    (0..100).for_each(|_| exchange_all(&mut peers));
    assert!(mute.is_running());
    end_with_a_takeover(&place, &mute, peers);
}

#[test]
fn server_whose_standard_error_is_full_or_gone_serves_on() {
    let place = Place::new();
    let path = place.path();
    let arguments = ["-v", "-p", "0", "-t", path.to_str().expect("a test's path is UTF-8")];
    let (server, stderr) = Server::spawn_unread(&path, daemon().args(arguments));
    let mut lines = BufReader::new(stderr).lines().map(|line| line.expect("the daemon writes UTF-8"));
    let start = lines.find(|line| line.contains("Starting TCP server on ")).expect("it starts");
    let port = start.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut peers = Peer::connect_many((std::net::Ipv4Addr::LOCALHOST, port).into(), 10);
    // A pipe holds 64 KiB, and each message is a line.
    for _ in 0..300 {
        exchange_all(&mut peers);
    }
    lines.find(|line| line.contains("seqnum:")).expect("messages are logged");
    // Somebody reads again: the log goes on, and says what is missing.
    let mut dropped = false;
    while !dropped {
        exchange_all(&mut peers);
        dropped = lines.by_ref().take(10).any(|line| line.contains("log lines dropped"));
    }
    drop(lines);
    for _ in 0..10 {
        exchange_all(&mut peers);
    }
    end_with_a_takeover(&place, &server, peers);
}

#[test]
fn server_whose_standard_error_is_always_full_serves_on() {
    let place = Place::new();
    let (mute, mut peers) = taken_over_by_mute(&place, "2>/dev/full");
    (0..100).for_each(|_| exchange_all(&mut peers));
    end_with_a_takeover(&place, &mute, peers);
}

#[test]
fn server_that_shares_its_standard_error_with_others_who_fill_it_serves_on() {
    let place = Place::new();
    let predecessor = Server::serve(&place.path(), "");
    let mut peers = Peer::connect_many(predecessor.address(), 10);
    exchange_all(&mut peers);
    let (reader, writer) = io::pipe().unwrap();
    let shared = writer.as_fd().try_clone_to_owned().unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&shared);
    // Passed on as the file that it is, for the harness has taken standard error.
    let mute = {
        let path = format!("2>/proc/{}/fd/{fd}", std::process::id());
        Server::spawn(&place.path(), &mut mute(&place.path(), &path))
    };
    let stopping = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopAtEnd(&stopping);
        // They fill whatever room there is, and somebody makes a little of it, so that the server finds room that is
        // gone when it writes.
        for mut filler in [File::from(shared.try_clone().unwrap()), File::from(shared)] {
            let stopping = &stopping;
            scope.spawn(move || {
                while !stopping.load(Ordering::Relaxed) {
                    filler.write_all(&[b'x'; 2000]).unwrap();
                }
            });
        }
        let stopped = &stopping;
        scope.spawn(move || {
            let (mut reader, mut buffer) = (reader, [0; 1000]);
            let mut reads = 0u32;
            while !stopped.load(Ordering::Relaxed) || reader.read(&mut buffer).is_ok_and(|bytes| bytes > 0) {
                let _ = reader.read(&mut buffer).unwrap();
                reads += 1;
                (0..reads % 16).for_each(|_| thread::yield_now());
            }
        });
        drop(writer);
        assert_eq!(predecessor.exit_code(), 0);
        for _ in 0..2000 {
            exchange_all(&mut peers);
        }
        end_with_a_takeover(&place, &mute, peers);
    });
}

/// A terminal: the end that shows it, and the end that programs write to, by its name.
struct Terminal {
    shown: File,
    written: OwnedFd,
    path: PathBuf,
}

impl Terminal {
    fn open() -> Self {
        let pair = openpty(None, None).unwrap();
        let path = ttyname(&pair.slave).unwrap();
        Self { shown: pair.master.into(), written: pair.slave, path }
    }

    fn type_in(&mut self, key: u8) {
        self.shown.write_all(&[key]).unwrap();
    }

    /// Has a thread read what it shows, until nobody can write to it any more.
    fn read_aside(&self) -> Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        let shown = BufReader::new(self.shown.try_clone().unwrap());
        thread::spawn(move || {
            for line in shown.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        receiver
    }
}

/// With Ctrl-S, nothing is written to a terminal until Ctrl-Q.
const CTRL_S: u8 = 0x13;
const CTRL_Q: u8 = 0x11;

#[test]
fn server_on_a_terminal_that_is_stopped_or_not_read_serves_on_and_counts_what_is_missing() {
    for is_stopped in [true, false] {
        let place = Place::new();
        let mut terminal = Terminal::open();
        if is_stopped {
            terminal.type_in(CTRL_S);
        }
        let (mute, mut peers) = taken_over_by_mute(&place, &format!("2>{}", terminal.path.display()));
        // Each message is a line, and a terminal holds some kilobytes.
        (0..100).for_each(|_| exchange_all(&mut peers));
        terminal.type_in(CTRL_Q);
        let lines = terminal.read_aside();
        let began = Instant::now();
        // The terminal goes on when it has got round to it, and what comes before is dropped like the rest.
        while !lines.try_iter().any(|line| line.contains("log lines dropped")) {
            assert!(began.elapsed() < PATIENCE, "it does not say what is missing");
            exchange_all(&mut peers);
        }
        end_with_a_takeover(&place, &mute, peers);
        drop(terminal.written);
    }
}

/// A file system with hardly any room, which is gone with this.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn mount(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&path).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // What is still open there keeps it until it is closed.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || thread::panicking());
    }
}

#[test]
fn server_whose_log_is_on_a_full_disk_serves_on_and_counts_what_is_missing() {
    let place = Place::new();
    let Some(disk) = TinyDisk::mount(place.file("disk")) else {
        return skip("only root can make a file system");
    };
    let (log, filler) = (disk.0.join("log"), disk.0.join("filler"));
    let (mute, mut peers) = taken_over_by_mute(&place, &format!("2>>{}", log.display()));
    let mut file = OpenOptions::new().create(true).append(true).open(&filler).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    // Each message is a line, and at most one page of them still has room.
    (0..100).for_each(|_| exchange_all(&mut peers));
    let whole = |path: &Path| BufReader::new(File::open(path).unwrap()).lines().map(Result::unwrap).collect::<Vec<_>>();
    assert!(!whole(&log).iter().any(|line| line.contains("dropped")), "there is no room for that");
    std::fs::remove_file(&filler).unwrap();
    exchange_all(&mut peers);
    end_with_a_takeover(&place, &mute, peers);
    let lines = whole(&log);
    let counted = lines.iter().position(|line| line.contains("log lines dropped")).expect("it says what is missing");
    let (_, count) = lines[counted].split_once("] ").expect("the text follows the module");
    let count: usize = count.split(' ').next().and_then(|count| count.parse().ok()).expect("a number");
    assert!(count > 900, "1000 messages, and less than a page of room: {count}");
    // The line that did not fit has been ended before the next.
    assert!(lines[counted].starts_with("20"), "{}", lines[counted]);
    assert!(lines[counted + 1..].iter().all(|line| line.starts_with("20")), "{lines:?}");
}

#[test]
fn server_whose_log_is_over_the_limit_of_a_files_size_serves_on() {
    let place = Place::new();
    let log = place.file("log");
    // In blocks of 512 or 1024 bytes: less than the lines of 20 messages.
    let (mute, mut peers) = taken_over_by_mute(&place, &format!("2>>{}; ulimit -f 1", log.display()));
    (0..100).for_each(|_| exchange_all(&mut peers));
    assert!(std::fs::metadata(&log).unwrap().len() <= 1024);
    end_with_a_takeover(&place, &mute, peers);
}
