//! Lengths of functions, in lines and in tokens.

use super::source::{Source, ident, inside, is_punct};
use proc_macro2::{Delimiter, TokenTree};

#[derive(Debug)]
pub struct Function {
    /// `file:line name`
    pub place: String,
    /// From its first to its last line.
    pub lines: usize,
    /// Of its signature and its body; each pair of brackets counts as one.
    pub tokens: usize,
}

/// Every function with a body.
#[must_use]
pub fn functions<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Vec<Function> {
    let mut found = Vec::new();
    for source in sources {
        collect(
            &source.tokens,
            &source.path.display().to_string(),
            &mut found,
        );
    }
    found
}

fn collect(tokens: &[TokenTree], path: &str, into: &mut Vec<Function>) {
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if word == "fn" => into.extend(function(&tokens[index..], path)),
            TokenTree::Group(group) => collect(&inside(group), path, into),
            _ => {}
        }
    }
}

/// The function that begins with the first token.
fn function(tokens: &[TokenTree], path: &str) -> Option<Function> {
    let name = ident(tokens, 1)?;
    let is_end = |token: &TokenTree| is_punct(token, ';') || is_body(token);
    let end = tokens.iter().position(is_end)?;
    let body = tokens.get(end).filter(|token| is_body(token))?;
    let first = tokens[0].span().start().line;
    let TokenTree::Group(group) = body else {
        return None;
    };
    let lines = group.span_close().end().line + 1 - first;
    let tokens = tokens[..=end].iter().map(count).sum();
    Some(Function {
        place: format!("{path}:{first} {name}"),
        lines,
        tokens,
    })
}

fn is_body(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

fn count(token: &TokenTree) -> usize {
    match token {
        TokenTree::Group(group) => 2 + inside(group).iter().map(count).sum::<usize>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::TokenStream;
    use std::str::FromStr;

    #[test]
    fn functions_are_measured_with_their_signature() {
        let text = "trait T { fn none(&self); }\nimpl X {\n fn two(a: u8)\n -> u8 {\n a\n }\n}";
        let mut found = Vec::new();
        let tokens: Vec<TokenTree> = TokenStream::from_str(text).unwrap().into_iter().collect();
        collect(&tokens, "x.rs", &mut found);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].place.as_str(), found[0].lines, found[0].tokens),
            ("x.rs:3 two", 4, 13)
        );
    }
}
