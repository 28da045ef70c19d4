//! Rust files of the workspace's crates as tokens, without comments and without test-only code.

use super::{files, read};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Crates whose code is part of the product.
pub const PRODUCT: [&str; 4] = ["storage", "consensus", "control-api", "node"];

/// Folders of the crates, the innermost first: a file belongs to the first one that contains it.
const CRATES: [&str; 10] = [
    "chaos/camera",
    "chaos/consensus",
    "storage",
    "consensus",
    "control-api",
    "node",
    "chaos",
    "tests",
    "benches",
    "xtask",
];

/// A file below some crate's `src`.
#[derive(Debug)]
pub struct Source {
    /// Relative to the workspace.
    pub path: PathBuf,
    /// The crate's folder.
    pub krate: &'static str,
    /// Its modules, from the crate's root; empty for the root itself.
    pub module: Vec<String>,
    pub tokens: Vec<TokenTree>,
}

/// Every file of every crate's `src`, except test-only ones.
///
/// # Panics
/// If a file is not valid Rust.
#[must_use]
pub fn sources() -> Vec<Source> {
    let mut for_tests = BTreeSet::new();
    let mut sources: Vec<Source> = files("rs")
        .iter()
        .filter_map(|path| source(path, &mut for_tests))
        .collect();
    let is_for_tests = |source: &Source| {
        (1..=source.module.len())
            .any(|end| for_tests.contains(&(source.krate, source.module[..end].to_vec())))
    };
    sources.retain(|source| !is_for_tests(source));
    sources
}

/// Crate and path of a module that is declared for tests only.
type TestModules = BTreeSet<(&'static str, Vec<String>)>;

fn source(path: &Path, for_tests: &mut TestModules) -> Option<Source> {
    let krate = *CRATES.iter().find(|krate| path.starts_with(krate))?;
    let module = modules(path.strip_prefix(krate).ok()?)?;
    let tokens = TokenStream::from_str(&read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut left_out = Vec::new();
    let tokens = without_tests(tokens, &mut left_out);
    for_tests.extend(
        left_out
            .into_iter()
            .map(|name| (krate, [module.as_slice(), &[name]].concat())),
    );
    Some(Source {
        path: path.to_owned(),
        krate,
        module,
        tokens,
    })
}

/// `src/a/b.rs` is `[a, b]`. `None` for files outside the library, and for tests.
fn modules(path: &Path) -> Option<Vec<String>> {
    let below = path.strip_prefix("src").ok()?;
    let mut names: Vec<String> = below
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if names.first().is_some_and(|first| first == "bin") || names.iter().any(|name| name == "tests")
    {
        return None;
    }
    if names
        .last()
        .is_some_and(|last| last == "mod" || names.len() == 1 && (last == "lib" || last == "main"))
    {
        names.pop();
    }
    Some(names)
}

/// Removes items with `#[cfg(test)]`; collects the names of modules among them in `modules`.
fn without_tests(tokens: TokenStream, modules: &mut Vec<String>) -> Vec<TokenTree> {
    let mut kept = Vec::new();
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let is_attribute = is_punct(&token, '#');
        match rest.peek() {
            Some(TokenTree::Group(group)) if is_attribute && is_for_tests(group) => {
                modules.extend(skip_item(&mut rest))
            }
            _ => kept.push(token),
        }
    }
    kept
}

/// Skips to the end of a body or a semicolon. Returns the name if the item is a module.
fn skip_item(rest: &mut impl Iterator<Item = TokenTree>) -> Option<String> {
    let is_end = |token: &TokenTree| {
        is_punct(token, ';')
            || matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
    };
    let item: Vec<TokenTree> = rest.take_while(|token| !is_end(token)).collect();
    let name = item
        .iter()
        .position(|token| matches!(token, TokenTree::Ident(word) if word == "mod"))?;
    ident(&item, name + 1)
}

fn is_for_tests(attribute: &proc_macro2::Group) -> bool {
    let text = attribute.stream().to_string().replace(' ', "");
    text == "cfg(test)" || text.starts_with("cfg(any(test,") || text.starts_with("cfg(all(test,")
}

#[must_use]
pub fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// The identifier at `index`, if one is there.
#[must_use]
pub fn ident(tokens: &[TokenTree], index: usize) -> Option<String> {
    match tokens.get(index) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

/// Whether `::` is at `index`.
#[must_use]
pub fn is_path_separator(tokens: &[TokenTree], index: usize) -> bool {
    tokens.get(index).is_some_and(|token| is_punct(token, ':'))
        && tokens
            .get(index + 1)
            .is_some_and(|token| is_punct(token, ':'))
}

/// A group's tokens, without tests.
#[must_use]
pub fn inside(group: &proc_macro2::Group) -> Vec<TokenTree> {
    without_tests(group.stream(), &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_for_tests_are_left_out() {
        let text = "use a; #[cfg(test)] mod tests { use b; } #[cfg(test)] use c; fn d() {}
                    #[cfg(test)] mod golden;";
        let mut modules = Vec::new();
        let kept = without_tests(TokenStream::from_str(text).unwrap(), &mut modules);
        let text = kept.into_iter().collect::<TokenStream>().to_string();
        assert_eq!(
            (text.as_str(), modules),
            (
                "use a ; fn d () { }",
                vec!["tests".to_owned(), "golden".to_owned()]
            )
        );
    }

    #[test]
    fn modules_follow_the_path() {
        let of = |path: &str| modules(Path::new(path));
        assert_eq!(of("src/lib.rs"), Some(vec![]));
        assert_eq!(of("src/a/mod.rs"), Some(vec!["a".to_owned()]));
        assert_eq!(of("src/a/b.rs"), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(of("src/a/tests/b.rs"), None);
        assert_eq!(of("src/bin/a.rs"), None);
        assert_eq!(of("tests/a.rs"), None);
    }
}
