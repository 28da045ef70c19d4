//! The structure of the tree: folders import one way, and operators read plain words.

use super::assert_none;
use holdfast_tests::tree::source::{PRODUCT, inside, sources};
use holdfast_tests::tree::{imports, words};
use proc_macro2::TokenTree;

#[test]
fn operators_read_plain_words() {
    let mut findings = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| PRODUCT.contains(&source.krate))
    {
        let found = words::in_literals(source);
        findings.extend(
            found
                .iter()
                .map(|(line, word)| format!("{}:{line}: {word}", source.path.display())),
        );
    }
    assert_none(
        "words that have a plainer one (CONTRIBUTING, \"Words\") in what operators see",
        &findings,
    );
}

/// Crates whose top-level modules import each other one way only.
const STRAIGHT: [&str; 7] = [
    "storage",
    "consensus",
    "control-api",
    "node",
    "chaos",
    "chaos/camera",
    "chaos/consensus",
];

#[test]
fn modules_import_one_way() {
    let sources = sources();
    let mut findings = Vec::new();
    for krate in STRAIGHT {
        let cycles = imports::cycles(&imports::graph(&sources, krate));
        findings.extend(
            cycles
                .iter()
                .map(|ring| format!("{krate}: {}", ring.join(", "))),
        );
    }
    assert_none(
        "modules that import each other (`cargo xtask figures --places` says where)",
        &findings,
    );
}

/// The only files that encode with postcard: each puts a version before what it writes.
const VERSIONED: [&str; 2] = ["consensus/src/codec.rs", "storage/src/catalogue.rs"];

#[test]
fn what_is_stored_or_sent_has_a_version() {
    let mut findings = Vec::new();
    for source in sources() {
        let is_free = VERSIONED.iter().any(|path| source.path.ends_with(path));
        if PRODUCT.contains(&source.krate) && !is_free && names(&source.tokens, "postcard") {
            findings.push(source.path.display().to_string());
        }
    }
    assert_none("postcard without a version", &findings);
}

fn names(tokens: &[TokenTree], name: &str) -> bool {
    tokens.iter().any(|token| match token {
        TokenTree::Ident(word) => word == name,
        TokenTree::Group(group) => names(&inside(group), name),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}
