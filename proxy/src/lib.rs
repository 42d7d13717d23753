//! A TCP proxy whose established connections outlive its upgrades and its configurations.
//!
//! This package is for the program `reactord-proxy`, and promises nobody else anything.
//!
//! | module | owns |
//! | --- | --- |
//! | [`config`] | the file: what it says, and every mistake in it with its place |
//! | [`networks`] | which addresses belong to a set of networks |

pub mod config;
pub mod networks;
