//! Tests of the whole (see `tests/`), and the tree as data that they and `cargo xtask figures`
//! read.

pub mod tree;
