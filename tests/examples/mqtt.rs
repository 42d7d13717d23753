//! The example `mqtt`, with clients of MQTT.

use std::process::{Command, Stdio};

use super::clients::{Client, Service, program, python_with};
use crate::harness::Peer;

/// A client of Mosquitto, unless the machine has none. It says each line at once, also into a pipe.
fn mosquitto(name: &str, service: &Service, arguments: &[&str]) -> Option<Command> {
    program(name, "mosquitto-clients")?;
    let mut command = Command::new("stdbuf");
    command.args(["-oL", name, "-h", "localhost", "-p", &service.port()]).args(arguments);
    Some(command)
}

#[track_caller]
fn publish(service: &Service, arguments: &[&str]) {
    let mut command = mosquitto("mosquitto_pub", service, arguments).expect("it comes with mosquitto_sub");
    assert!(command.stdin(Stdio::null()).status().expect("it can be started").success());
}

#[track_caller]
fn mosquitto_hears_what_is_published_retained_and_willed(mut service: Service, options: &[&str]) {
    let with = |arguments: &[&'static str]| -> Vec<&str> { arguments.iter().chain(options).copied().collect() };
    let listening = with(&["-t", "home/#", "-q", "1", "-v", "-d"]);
    let Some(mut listener) = mosquitto("mosquitto_sub", &service, &listening) else { return };
    let mut listener = Client::start(&mut listener);
    listener.wait_for("Subscribed (mid: 1): 1");
    let mortal =
        with(&["-t", "home/none", "-d", "--will-topic", "home/will", "--will-payload", "gone", "--will-qos", "1"]);
    let mut mortal = Client::start(&mut mosquitto("mosquitto_sub", &service, &mortal).expect("it was there"));
    mortal.wait_for("Subscribed (mid: 1): 0");

    service.take_over();
    publish(&service, &with(&["-t", "home/kitchen", "-m", "21.5", "-q", "1", "-r"]));
    listener.wait_for("home/kitchen 21.5");
    service.take_over();
    drop(mortal);
    listener.wait_for("home/will gone");
    let late = with(&["-t", "+/kitchen", "-C", "1", "-v"]);
    let mut late = mosquitto("mosquitto_sub", &service, &late).expect("it was there");
    let output = late.output().expect("it can be started");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "home/kitchen 21.5\n");
    for _ in 0..8 {
        service.take_over();
        publish(&service, &with(&["-t", "home/hall", "-m", "19", "-q", "1"]));
        listener.wait_for("home/hall 19");
    }
    drop(listener);
    service.stop();
}

#[test]
fn mosquitto_hears_across_takeovers_what_is_published_retained_and_willed() {
    mosquitto_hears_what_is_published_retained_and_willed(Service::start("mqtt"), &[]);
}

#[test]
fn mosquitto_that_speaks_tls_hears_across_takeovers_what_is_published_retained_and_willed() {
    let (service, authority) = Service::start_secured("mqtt");
    mosquitto_hears_what_is_published_retained_and_willed(service, &["--cafile", &authority]);
}

#[track_caller]
fn paho_publishes_and_hears_in_order(mut service: Service, arguments: &[&str]) {
    let Some(mut python) = python_with("paho.mqtt.client", "paho-mqtt") else { return };
    let mut client = Client::run(&mut python, "mqtt.py", &[&[&*service.port()], arguments].concat());
    for _ in 0..10 {
        client.tell("go on");
        client.expect("goes on");
        service.take_over();
    }
    client.tell("go on");
    client.expect("goes on");
    client.end_input();
    client.expect("done");
    client.expect_success();
    service.stop();
}

#[test]
fn paho_publishes_and_hears_in_order_across_ten_takeovers() {
    paho_publishes_and_hears_in_order(Service::start("mqtt"), &[]);
}

#[test]
fn paho_that_speaks_tls_publishes_and_hears_in_order_across_ten_takeovers() {
    let (service, authority) = Service::start_secured("mqtt");
    paho_publishes_and_hears_in_order(service, &[&authority]);
}

#[test]
fn a_client_that_is_silent_for_longer_than_it_said_is_closed_by_the_successor() {
    let mut service = Service::start("mqtt");
    let peer = Peer::connect(service.server().address());
    // CONNECT, of a client `c` that keeps alive every second.
    peer.send(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x01\x00\x01c");
    peer.expect(b"\x20\x02\x00\x00");
    service.take_over();
    peer.expect_end();
    drop(peer);
    service.stop();
}

#[test]
fn what_is_no_mqtt_is_closed() {
    let service = Service::start("mqtt");
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xc0\x00", b"\x10\xff\xff\xff\xff"] {
        let peer = Peer::connect(service.server().address());
        peer.send(garbage);
        peer.expect_end();
    }
    service.stop();
}
