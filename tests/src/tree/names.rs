//! Names of types: how many occur more than once.

use super::source::{Source, ident, inside, is_path_separator};
use proc_macro2::TokenTree;
use std::collections::BTreeMap;

const KINDS: [&str; 4] = ["struct", "enum", "trait", "union"];

/// Every type that these sources define, with the files that do.
#[must_use]
pub fn types<'a>(sources: impl IntoIterator<Item = &'a Source>) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for source in sources {
        collect(
            &source.tokens,
            &source.path.display().to_string(),
            &mut found,
        );
    }
    found
}

fn collect(tokens: &[TokenTree], path: &str, into: &mut BTreeMap<String, Vec<String>>) {
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if KINDS.contains(&word.to_string().as_str()) => {
                if let Some(name) =
                    ident(tokens, index + 1).filter(|_| !is_path_separator(tokens, index + 2))
                {
                    into.entry(name).or_default().push(path.to_owned());
                }
            }
            TokenTree::Group(group) => collect(&inside(group), path, into),
            _ => {}
        }
    }
}

/// The percentage of names that more than one type has.
#[must_use]
pub fn doubled_percent(types: &BTreeMap<String, Vec<String>>) -> f64 {
    let doubled = types.values().filter(|places| places.len() > 1).count();
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let percent = 100.0 * doubled as f64 / types.len().max(1) as f64;
    percent
}
