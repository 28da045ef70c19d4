//! The test cameras from a client's view, over loopback.
#![cfg(test)]

mod client;
mod decoding;
mod faults;
mod gallery;
mod hostile;
mod oddities;
mod playing;
mod program;
