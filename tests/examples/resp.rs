//! The example `resp`, with clients of Redis.

use std::process::{Command, Stdio};

use super::clients::{Client, Service, program, python_with};
use crate::harness::Peer;

/// A command as an array of words.
fn command(words: &[&str]) -> Vec<u8> {
    let word = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    format!("*{}\r\n{}", words.len(), words.iter().map(word).collect::<String>()).into()
}

#[test]
fn redis_cli_finds_after_a_takeover_what_it_left_before() {
    let Some(_) = program("redis-cli", "redis-tools") else { return };
    let mut service = Service::start("resp");
    let port = service.port();
    let cli = |words: &[&str]| {
        let mut cli = program("redis-cli", "redis-tools").expect("it was there");
        let output = cli.args(["-p", &port]).args(words).stdin(Stdio::null()).output().expect("it can be started");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    assert_eq!(cli(&["set", "greeting", "hello", "ex", "1000"]), "OK");
    assert_eq!(cli(&["mset", "a", "1", "b", "2"]), "OK");
    let mut subscriber = program("redis-cli", "redis-tools").expect("it was there");
    let mut subscriber = Client::start(subscriber.args(["-p", &port, "subscribe", "news"]));
    for line in ["subscribe", "news", "1"] {
        subscriber.expect(line);
    }
    service.take_over();
    assert_eq!(cli(&["publish", "news", "it works"]), "1");
    for line in ["message", "news", "it works"] {
        subscriber.expect(line);
    }
    assert_eq!(cli(&["get", "greeting"]), "hello");
    let ttl: u32 = cli(&["ttl", "greeting"]).parse().expect("a number");
    assert!((1..=1000).contains(&ttl), "{ttl}");
    assert_eq!(cli(&["incr", "a"]), "2");
    assert_eq!(cli(&["-3", "mget", "a", "none", "b"]), "2\n\n2");
    assert_eq!(cli(&["del", "a", "none", "b"]), "2");
    assert_eq!(cli(&["dbsize"]), "1");
    assert_eq!(cli(&["nonsense"]), "ERR unknown command 'nonsense'");
    drop(subscriber);
    service.stop();
}

#[test]
fn redis_cli_keeps_one_tls_connection_through_ten_takeovers() {
    let Some(mut cli) = program("redis-cli", "redis-tools") else { return };
    let (mut service, authority) = Service::start_secured("resp");
    let secured = ["--tls", "--cacert", &authority, "--sni", "localhost"];
    let mut cli = Client::start(cli.args(["-h", "localhost", "-p", &service.port()]).args(secured));
    for number in 1..=10 {
        cli.tell("incr counted");
        cli.expect(&number.to_string());
        service.take_over();
    }
    cli.tell("get counted");
    cli.expect("10");
    cli.expect_success();
    service.stop();
}

#[track_caller]
fn redis_benchmark_goes_on(mut service: Service, requests: &str, options: &[&str]) {
    let Some(_) = program("redis-benchmark", "redis-tools") else { return };
    // It goes on without end, unless it meets with an error; and says each line at once, also into a pipe.
    let mut benchmark = Command::new("stdbuf");
    benchmark.args(["-oL", "redis-benchmark"]);
    let tests = ["-t", "ping,set,get,incr,mset", "-P", "16", "-n", requests, "-l", "--csv"];
    let mut benchmark = Client::start(benchmark.args(["-p", &service.port()]).args(tests).args(options));
    for _ in 0..10 {
        service.take_over();
        // What it says of one of its tests. One may have been under way, the next one has begun since.
        benchmark.line();
        benchmark.line();
    }
    assert!(benchmark.is_running());
    drop(benchmark);
    service.stop();
}

#[test]
fn redis_benchmark_notices_nothing_of_ten_takeovers() {
    redis_benchmark_goes_on(Service::start("resp"), "10000", &[]);
}

#[test]
fn redis_benchmark_that_speaks_tls_notices_nothing_of_ten_takeovers() {
    let (service, authority) = Service::start_secured("resp");
    redis_benchmark_goes_on(service, "1000", &["--tls", "--cacert", &authority, "--sni", "localhost"]);
}

#[track_caller]
fn redis_py_counts_and_listens(mut service: Service, arguments: &[&str]) {
    let Some(mut python) = python_with("redis", "redis") else { return };
    let mut client = Client::run(&mut python, "resp.py", &[&[&*service.port()], arguments].concat());
    for _ in 0..10 {
        client.tell("go on");
        client.expect("counts");
        service.take_over();
    }
    client.tell("go on");
    client.expect("counts");
    client.expect_success();
    service.stop();
}

#[test]
fn redis_py_counts_and_listens_across_ten_takeovers() {
    for protocol in ["2", "3"] {
        redis_py_counts_and_listens(Service::start("resp"), &[protocol]);
    }
}

#[test]
fn redis_py_that_speaks_tls_counts_and_listens_across_ten_takeovers() {
    let (service, authority) = Service::start_secured("resp");
    redis_py_counts_and_listens(service, &["3", &authority]);
}

#[test]
fn a_command_goes_on_after_a_takeover_wherever_it_was_interrupted() {
    let mut service = Service::start("resp");
    let set = command(&["MSET", "a", "1", "b", "2", "c", "3"]);
    let get = command(&["MGET", "a", "b", "none", "c"]);
    let both = [set, get, b"EXISTS a b c none\r\n".to_vec()].concat();
    let peers: Vec<_> = (1..both.len()).map(|_| Peer::connect(service.server().address())).collect();
    for (sent, peer) in (1..).zip(&peers) {
        peer.send(&both[..sent]);
    }
    service.take_over();
    for (sent, peer) in (1..).zip(&peers) {
        peer.send(&both[sent..]);
        peer.expect(b"+OK\r\n*4\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n$1\r\n3\r\n:3\r\n");
    }
    drop(peers);
    service.stop();
}

#[test]
fn a_command_of_many_words_is_executed_while_it_comes_also_across_a_takeover() {
    const WORDS: usize = 100_000;
    let mut service = Service::start("resp");
    let [long, other] = [(), ()].map(|()| Peer::connect(service.server().address()));
    let words: Vec<String> = (0..WORDS).map(|word| word.to_string()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let pairs: Vec<&str> = words.iter().flat_map(|word| [*word, "v"]).collect();
    long.send(&command(&[&["MSET"], &pairs[..]].concat()));
    long.expect(b"+OK\r\n");
    let delete = command(&[&["DEL"], &words[..]].concat());
    long.send(&delete[..delete.len() / 2]);
    // Before it has come to its end, its first words are deleted.
    let gone = command(&["EXISTS", "1000"]);
    other.send(&gone);
    while other.receive(4) == b":1\r\n" {
        other.send(&gone);
    }
    service.take_over();
    long.send(&delete[delete.len() / 2..]);
    long.expect(format!(":{WORDS}\r\n").as_bytes());
    other.send(&command(&["DBSIZE"]));
    other.expect(b":0\r\n");
    drop((long, other));
    service.stop();
}

#[test]
fn a_value_that_expires_is_removed_though_nobody_asks_for_it_also_across_a_takeover() {
    let mut service = Service::start("resp");
    let peer = Peer::connect(service.server().address());
    peer.send(&command(&["SET", "short", "v", "PX", "100"]));
    peer.send(&command(&["SET", "long", "v", "EX", "1000"]));
    peer.expect(b"+OK\r\n+OK\r\n");
    service.take_over();
    // It counts what is there, expired or not.
    let count = command(&["DBSIZE"]);
    peer.send(&count);
    while peer.receive(4) != b":1\r\n" {
        peer.send(&count);
    }
    drop(peer);
    service.stop();
}

#[test]
fn a_client_that_sends_no_command_is_told_why_it_is_closed() {
    let service = Service::start("resp");
    let peer = Peer::connect(service.server().address());
    peer.send(b"*1\r\n:1\r\n");
    peer.expect(b"-ERR Protocol error: expected '$'\r\n");
    peer.expect_end();
    drop(peer);
    service.stop();
}
