//! Licences of all linked crates, against a list of permitted ones.

use super::assert_none;
use super::crates::{metadata, text};

/// Permissive licences that are compatible with Apache-2.0 OR MIT.
const ALLOWED: [&str; 11] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether allowed licences alone satisfy an SPDX expression. Old manifests write OR as `/`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) && rest.is_empty()
}

/// `a OR b OR ...`; AND binds tighter.
fn either<'a>(words: &mut &'a [&'a str]) -> bool {
    let mut met = both(words);
    while take(words, "OR") {
        // Both sides are always parsed, so that `words` advances.
        met |= both(words);
    }
    met
}

fn both<'a>(words: &mut &'a [&'a str]) -> bool {
    let mut met = one(words);
    while take(words, "AND") {
        met &= one(words);
    }
    met
}

fn one<'a>(words: &mut &'a [&'a str]) -> bool {
    if take(words, "(") {
        let met = either(words);
        return take(words, ")") && met;
    }
    let Some((licence, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    if take(words, "WITH") {
        let Some((exception, rest)) = words.split_first() else {
            return false;
        };
        *words = rest;
        return ALLOWED.contains(&format!("{licence} WITH {exception}").as_str());
    }
    ALLOWED.contains(licence)
}

fn take<'a>(words: &mut &'a [&'a str], word: &'a str) -> bool {
    let Some(rest) = words.strip_prefix(&[word]) else {
        return false;
    };
    *words = rest;
    true
}

#[test]
fn every_dependency_may_be_shipped() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let refused = packages
        .iter()
        .filter(|package| !is_allowed(text(package, "license")));
    let findings: Vec<String> = refused
        .map(|package| format!("{}: `{}`", text(package, "name"), text(package, "license")))
        .collect();
    assert_none("licences outside ALLOWED", &findings);
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for allowed in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "GPL-3.0 OR MIT AND GPL-3.0",
        "(MIT",
        "MIT WITH LLVM-exception",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}
