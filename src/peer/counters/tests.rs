//! The counters of real connections, beside what was really read and written.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{SendFlags, send};

use super::*;

/// A server's end of a connection, with what was read and written there by this test.
struct Watched {
    server: TcpStream,
    client: TcpStream,
    counting: Counting,
    first: Count,
    done: Count,
}

impl Watched {
    fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        server.set_nonblocking(true).unwrap();
        let mut counting = Counting::open().unwrap();
        let Sight::Stands(first) = counting.look(&server) else { panic!("it stands") };
        Self { server, client, counting, first, done: Count { read: 0, written: 0 } }
    }

    /// What the kernel has counted since the beginning.
    fn counted(&mut self) -> Count {
        match self.counting.look(&self.server) {
            Sight::Stands(now) => Count {
                read: now.read.wrapping_sub(self.first.read),
                written: now.written.wrapping_sub(self.first.written),
            },
            other => panic!("{other:?}"),
        }
    }

    fn agrees(&mut self, when: &str) {
        assert_eq!(self.counted(), self.done, "{when}");
    }

    /// Waits until so much can be read, which nothing else tells: it is peeked at.
    fn wait_for(&self, bytes: usize) {
        let began = Instant::now();
        let mut buffer = vec![0; bytes];
        while !matches!(self.server.peek(&mut buffer), Ok(there) if there >= bytes) {
            assert!(began.elapsed() < Duration::from_secs(20), "it arrives");
            std::thread::yield_now();
        }
    }

    fn wait_for_end(&self) {
        let began = Instant::now();
        let ended = [8, 9, 11, 6];
        while !Counters::of(&self.server).is_some_and(|counters| ended.contains(&counters.state)) {
            assert!(began.elapsed() < Duration::from_secs(20), "it arrives");
            std::thread::yield_now();
        }
    }

    fn read(&mut self, bytes: usize) -> usize {
        let read = self.server.read(&mut vec![0; bytes]).unwrap_or(0);
        self.done.read += read as u64;
        read
    }

    fn write(&mut self, bytes: usize) -> usize {
        match self.server.write(&vec![7; bytes]) {
            Ok(written) => {
                self.done.written += written as u64;
                written
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

fn over_both_families(test: impl Fn(Watched)) {
    test(Watched::at("127.0.0.1:0"));
    test(Watched::at("[::1]:0"));
}

#[test]
fn a_dual_stack_listener_has_clients_whose_counters_are_told() {
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let server = listener.accept().unwrap().0;
    assert!(matches!(Counting::open().unwrap().look(&server), Sight::Stands(_)));
}

#[test]
fn what_has_arrived_and_is_unread_does_not_count_and_what_is_read_does() {
    over_both_families(|mut watched| {
        watched.agrees("at first");
        watched.client.write_all(b"hello").unwrap();
        watched.wait_for(5);
        watched.agrees("with 5 bytes unread");
        watched.read(2);
        watched.agrees("with 2 of 5 read");
        watched.read(100);
        watched.agrees("with all read");
    });
}

#[test]
fn what_is_written_counts_at_once_whether_it_is_acknowledged_or_not() {
    over_both_families(|mut watched| {
        set_socket_recv_buffer_size(&watched.client, 4096).unwrap();
        while watched.write(100_000) > 0 {
            watched.agrees("while the output fills up");
        }
        watched.agrees("with a full output");
        for _ in 0..10 {
            let _ = watched.client.read(&mut [0; 30_000]).unwrap();
            watched.agrees("while a slow client reads");
        }
        watched.write(7777);
        watched.agrees("when more was written");
    });
}

#[test]
fn an_end_that_has_arrived_is_no_byte_that_is_read_whichever_read_takes_it() {
    over_both_families(|mut watched| {
        watched.client.write_all(b"xyz").unwrap();
        watched.client.shutdown(Shutdown::Write).unwrap();
        watched.wait_for(3);
        watched.wait_for_end();
        watched.agrees("with 3 bytes and the end unread");
        watched.read(2);
        watched.agrees("with 2 of 3 read");
        // There is room for the end, too, and the kernel passes over it.
        assert_eq!(watched.read(100), 1);
        watched.agrees("with all bytes read");
        assert_eq!(watched.read(100), 0);
        watched.agrees("with the end read");
        watched.write(4);
        watched.agrees("with something written after that");
    });
}

#[test]
fn the_end_of_the_output_counts_as_a_byte() {
    over_both_families(|mut watched| {
        watched.write(6);
        watched.server.shutdown(Shutdown::Write).unwrap();
        watched.done.written += 1;
        watched.agrees("when the output has ended");
        watched.client.write_all(b"q").unwrap();
        watched.wait_for(1);
        watched.agrees("with a byte that has come since");
        watched.read(9);
        watched.agrees("when that is read");
    });
}

#[test]
fn urgent_bytes_never_hide_that_something_was_read() {
    over_both_families(|mut watched| {
        watched.client.write_all(b"ab").unwrap();
        send(&watched.client, b"U", SendFlags::OOB).unwrap();
        watched.client.write_all(b"cd").unwrap();
        watched.wait_for(2);
        watched.agrees("with all unread");
        // Whatever a read skips counts as read: never as less than was.
        let mut before = watched.counted().read;
        for _ in 0..3 {
            let read = watched.read(100);
            let counted = watched.counted().read;
            assert!(counted >= before + read as u64 && counted >= watched.done.read, "{counted} after {before}");
            before = counted;
        }
    });
}

#[test]
fn a_connection_that_was_reset_is_over() {
    over_both_families(|mut watched| {
        watched.write(100);
        let Watched { server, client, mut counting, .. } = watched;
        // What it has not read makes the kernel reset the connection.
        drop(client);
        let began = Instant::now();
        while counting.look(&server) != Sight::Over {
            assert!(began.elapsed() < Duration::from_secs(20), "it is reset");
            std::thread::yield_now();
        }
    });
}

#[test]
fn what_is_no_tcp_connection_is_unknown() {
    let mut counting = Counting::open().unwrap();
    let (one, _other) = UnixStream::pair().unwrap();
    assert_eq!(counting.look(&one), Sight::Unknown);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(counting.look(&listener), Sight::Unknown);
}

#[test]
fn of_a_connection_that_both_sides_have_ended_it_is_known_how_much_was_read_unless_it_was_reset() {
    let mut watched = Watched::at("127.0.0.1:0");
    watched.client.write_all(&[1; 100]).unwrap();
    watched.wait_for(100);
    assert_eq!(watched.read(30), 30);
    assert_eq!(count_of_ended(&watched.server), None, "it stands");
    watched.server.shutdown(Shutdown::Write).unwrap();
    watched.client.shutdown(Shutdown::Write).unwrap();
    wait_for_close(&watched.server);
    for bytes in [0, 50, 20, 1] {
        watched.read(bytes);
        assert_eq!(
            count_of_ended(&watched.server),
            Some(Count {
                read: watched.first.read + watched.done.read,
                // That it is ended counts.
                written: watched.first.written + watched.done.written + 1,
            })
        );
    }
    assert_eq!(watched.done.read, 100);

    let Watched { server, client, .. } = Watched::at("127.0.0.1:0");
    server.shutdown(Shutdown::Write).unwrap();
    (&client).write_all(b"x").unwrap();
    send(&client, b"!", SendFlags::OOB).unwrap();
    (&client).write_all(b"yz").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    wait_for_close(&server);
    assert_eq!(count_of_ended(&server), None, "something urgent is there");

    let Watched { server, client, .. } = Watched::at("127.0.0.1:0");
    (&client).write_all(&[1; 100]).unwrap();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    wait_for_close(&server);
    assert_eq!(count_of_ended(&server), None, "it is reset");
}

fn wait_for_close(server: &TcpStream) {
    let began = Instant::now();
    while Counters::of(server).is_none_or(|counters| counters.state != STATE_CLOSED) {
        assert!(began.elapsed() < Duration::from_secs(20), "it ends");
        std::thread::yield_now();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_read_and_written_in_whatever_order_the_counters_are_exact(
        steps in proptest::collection::vec((0..4u8, 1..6000usize), 1..200),
    ) {
        let mut watched = Watched::at("127.0.0.1:0");
        watched.client.set_nonblocking(true).unwrap();
        for (what, bytes) in steps {
            match what {
                0 => drop(watched.read(bytes)),
                1 => drop(watched.write(bytes)),
                2 => drop(watched.client.write(&vec![1; bytes])),
                _ => drop(watched.client.read(&mut vec![0; bytes])),
            }
            prop_assert_eq!(watched.counted(), watched.done);
        }
    }
}

#[test]
fn whoever_is_bound_to_a_device_is_found_there_and_is_not_asked_about_again_and_again() {
    let Ok(listener) = listener_on_a_device() else { return eprintln!("this process may not bind to a device") };
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    let mut counting = Counting::open().unwrap();
    let asked = counting.asked;
    assert!(matches!(counting.look(&server), Sight::Stands(_)));
    assert!(counting.asked - asked <= 2);
    drop(client);
}

fn listener_on_a_device() -> nix::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::setsockopt(&listener, BindToDevice, &"lo".into())?;
    Ok(listener)
}

#[test]
fn a_listener_is_seen_from_its_own_network_and_another_one_is_not_taken_for_it() {
    for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let listener = TcpListener::bind(address).unwrap();
        let mut counting = Counting::open().unwrap();
        let at = listener.local_addr().unwrap();
        assert!(counting.sees(&listener, at).unwrap());
        // One that is not there is like one that is elsewhere.
        let bound = rustix::net::socket(rustix::net::AddressFamily::INET, SocketType::STREAM, None).unwrap();
        assert!(!counting.sees(&bound, at).unwrap());
    }
}
