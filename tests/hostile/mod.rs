//! Hostile and unlucky surroundings: whoever calls on the takeover socket, whatever descriptors, peers, outputs,
//! signals and memory do, the server serves everybody else, and can be taken over afterwards.
//!
//! Each test fails without the defence that it is about. What they are told of here once is not in `integration/`.

mod descriptors;
mod memory;
mod moves;
mod output;
mod peers;
mod predecessor;
mod signals;
mod successor;
mod takeover_socket;
