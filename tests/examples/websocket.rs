//! The example `websocket`, with a client that many use.

use super::clients::{Client, Service, python_with};

#[test]
fn a_chat_goes_on_across_ten_takeovers() {
    let Some(mut python) = python_with("websockets", "websockets") else { return };
    let mut service = Service::start("websocket");
    let mut client = Client::run(&mut python, "websocket.py", &[&service.port()]);
    for _ in 0..10 {
        client.tell("go on");
        client.expect("goes on");
        service.take_over();
    }
    client.tell("go on");
    client.expect("goes on");
    client.end_input();
    client.expect("listens to the end");
    service.stop();
    for name in ["Ann", "Bob", "Eve"] {
        client.expect(&format!("{name} 1001"));
    }
    client.expect_success();
}
