//! The pure parts of `resp`, with the tests beside them.

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
