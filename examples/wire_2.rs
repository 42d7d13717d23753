//! The example `versions`, built to speak wire version 2 as it is rehearsed (docs/wire.md).
//!
//! The tests let it take over from the ordinary build, and the other way round.

mod versions;

fn main() -> std::process::ExitCode {
    versions::main()
}
