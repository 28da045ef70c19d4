//! Words that are not used in this repository: each has a plainer one (CONTRIBUTING, "Words").

use super::source::{Source, inside};
use proc_macro2::TokenTree;

/// Matched as whole words, in upper or lower case.
pub const UNWANTED: [&str; 13] = [
    "told",
    "tell",
    "tells",
    "whoever",
    "anew",
    "nobody",
    "somebody",
    "beside",
    "lives",
    "meanwhile",
    "goes on",
    "go on",
    "for ever",
];

/// The unwanted words in a text, in order.
#[must_use]
pub fn unwanted(text: &str) -> Vec<&'static str> {
    let text = text.to_lowercase();
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let at = |index: usize| {
        UNWANTED.iter().copied().find(|unwanted| {
            unwanted
                .split(' ')
                .enumerate()
                .all(|(offset, word)| words.get(index + offset) == Some(&word))
        })
    };
    (0..words.len()).filter_map(at).collect()
}

/// Number of words in a text.
#[must_use]
pub fn count(text: &str) -> usize {
    text.split_whitespace()
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .count()
}

/// Files whose documentation `--help` prints.
const HELP: &str = "node/src/cli/args";

/// Unwanted words in literals, with their lines: the text that operators see of a program.
#[must_use]
pub fn in_literals(source: &Source) -> Vec<(usize, &'static str)> {
    let is_help = source.path.to_string_lossy().starts_with(HELP);
    let mut found = Vec::new();
    literals(&source.tokens, is_help, &mut found);
    found
}

fn literals(tokens: &[TokenTree], is_help: bool, into: &mut Vec<(usize, &'static str)>) {
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Literal(literal) if !is_attribute_for_compiler(tokens, index) => {
                let line = literal.span().start().line;
                into.extend(
                    unwanted(&literal.to_string())
                        .into_iter()
                        .map(|word| (line, word)),
                );
            }
            // A documentation comment is an attribute here: `#[doc = "…"]`.
            TokenTree::Group(group) if is_documentation(group) && !is_help => {}
            TokenTree::Group(group) => literals(&inside(group), is_help, into),
            _ => {}
        }
    }
}

fn is_documentation(group: &proc_macro2::Group) -> bool {
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(word)) if word == "doc")
}

/// `reason = "…"` of a lint is for readers of the source.
fn is_attribute_for_compiler(tokens: &[TokenTree], index: usize) -> bool {
    index >= 2 && super::source::ident(tokens, index - 2).as_deref() == Some("reason")
}

/// The text of comments in a Rust file.
#[must_use]
pub fn comments(text: &str) -> String {
    let of_line = |line: &str| {
        let line = line.trim_start();
        line.starts_with("//")
            .then(|| format!("{}\n", line.trim_start_matches(['/', '!'])))
    };
    text.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::TokenStream;
    use std::str::FromStr;

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        assert_eq!(
            unwanted("Nobody told it; it goes on, for\never."),
            ["nobody", "told", "goes on", "for ever"]
        );
        assert!(unwanted("besides, a foretold anewness; told_apart").is_empty());
    }

    #[test]
    fn literals_are_searched_and_comments_are_not() {
        let text = "/// told\nfn f() { g(\"told\"); h!(\"x {}\", \"anew\") }\n\
                    #[expect(dead_code, reason = \"told\")]";
        let tokens: Vec<TokenTree> = TokenStream::from_str(text).unwrap().into_iter().collect();
        let mut found = Vec::new();
        literals(&tokens, false, &mut found);
        assert_eq!(found, [(2, "told"), (2, "anew")]);
        literals(&tokens, true, &mut found);
        assert_eq!(found.len(), 5, "documentation is what `--help` prints");
        assert_eq!(comments("//! a\nb // c\n  /// d\n"), " a\n d\n");
    }
}
