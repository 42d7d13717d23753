//! A TCP proxy whose established connections outlive its upgrades and its configurations.
//!
//! This package is for the program `reactord-proxy`, and promises nobody else anything.
