//! Tests of the whole product (see `tests/`), and the source tree as data, for these tests and for
//! `cargo xtask figures`.

pub mod tree;
