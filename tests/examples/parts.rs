//! The pure parts of `mqtt` and `resp`, with the tests beside them.

#[path = "../../examples/mqtt/session.rs"]
mod mqtt_session;
#[path = "../../examples/mqtt/topics.rs"]
mod mqtt_topics;

#[path = "../../examples/resp/commands.rs"]
mod commands;
#[path = "../../examples/resp/reply.rs"]
mod reply;
#[path = "../../examples/resp/session.rs"]
mod session;
#[path = "../../examples/resp/store.rs"]
mod store;
#[path = "../../examples/resp/words.rs"]
mod words;
