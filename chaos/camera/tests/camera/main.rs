//! The test cameras as a client sees them, over loopback.
#![cfg(test)]

mod client;
mod decoding;
mod faults;
mod gallery;
mod hostile;
mod oddities;
mod playing;
mod program;
