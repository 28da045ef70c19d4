//! The imports between the folders of a crate, and the cycles among them.

use super::source::{Source, ident, inside, is_path_separator};
use proc_macro2::TokenTree;
use std::collections::{BTreeMap, BTreeSet};

/// Importing folder (or top-level module) to imported ones, with one file as evidence for each
/// import.
pub type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// The imports between the top-level modules of a crate.
#[must_use]
pub fn graph(sources: &[Source], krate: &str) -> Graph {
    let ours: Vec<&Source> = sources
        .iter()
        .filter(|source| source.krate == krate)
        .collect();
    let rooms: BTreeSet<&str> = ours
        .iter()
        .filter_map(|source| Some(source.module.first()?.as_str()))
        .collect();
    let mut graph = Graph::new();
    for source in &ours {
        let Some(importer) = source.module.first() else {
            continue;
        };
        let mut imported = BTreeSet::new();
        collect(&source.tokens, &source.module, &mut imported);
        for room in imported
            .iter()
            .filter(|room| *room != importer && rooms.contains(room.as_str()))
        {
            let witness = source.path.display().to_string();
            graph
                .entry(importer.clone())
                .or_default()
                .entry(room.clone())
                .or_insert(witness);
        }
    }
    graph
}

/// The first modules of all paths that begin with `crate`, `super` or `self`.
fn collect(tokens: &[TokenTree], module: &[String], into: &mut BTreeSet<String>) {
    let mut index = 0;
    while index < tokens.len() {
        if let Some(first) = start(tokens, index) {
            let (place, next) = resolve(&first, tokens, index, module);
            heads(&place, tokens, next, into);
        }
        if let (Some(word), Some(name), Some(TokenTree::Group(body))) = (
            ident(tokens, index),
            ident(tokens, index + 1),
            tokens.get(index + 2),
        ) && word == "mod"
        {
            collect(&inside(body), &[module, &[name]].concat(), into);
            index += 2;
        } else if let TokenTree::Group(group) = &tokens[index] {
            collect(&inside(group), module, into);
        }
        index += 1;
    }
}

/// `crate`, `self` or `super` at the beginning of a path.
fn start(tokens: &[TokenTree], index: usize) -> Option<String> {
    let word = ident(tokens, index)?;
    let is_start =
        matches!(word.as_str(), "crate" | "self" | "super") && is_path_separator(tokens, index + 1);
    let is_inner = index >= 2 && is_path_separator(tokens, index - 2)
        || index >= 1 && ident(tokens, index - 1).as_deref() == Some("in");
    (is_start && !is_inner).then_some(word)
}

/// The module that the path's leading words name, and the index at which the path continues.
fn resolve(
    first: &str,
    tokens: &[TokenTree],
    mut index: usize,
    module: &[String],
) -> (Vec<String>, usize) {
    let mut place = if first == "crate" {
        Vec::new()
    } else {
        module.to_vec()
    };
    if first == "super" {
        place.pop();
    }
    index += 3;
    while ident(tokens, index).as_deref() == Some("super") && is_path_separator(tokens, index + 1) {
        place.pop();
        index += 3;
    }
    (place, index)
}

/// The top-level modules named at `place`: one, or those of a group.
fn heads(place: &[String], tokens: &[TokenTree], index: usize, into: &mut BTreeSet<String>) {
    if let Some(room) = place.first() {
        into.insert(room.clone());
        return;
    }
    match tokens.get(index) {
        Some(TokenTree::Ident(name)) => {
            into.insert(name.to_string());
        }
        Some(TokenTree::Group(group)) => {
            let list = inside(group);
            let begins = |at: usize| at == 0 || super::source::is_punct(&list[at - 1], ',');
            into.extend(
                (0..list.len())
                    .filter(|&at| begins(at))
                    .filter_map(|at| ident(&list, at)),
            );
        }
        _ => {}
    }
}

/// Sets of folders that import each other, each sorted, the largest first.
#[must_use]
pub fn cycles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|from| (from, reachable(graph, from)))
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (from, reached) in &reach {
        let returns = |to: &&String| reach.get(*to).is_some_and(|back| back.contains(*from));
        let ring: Vec<String> = reached.iter().copied().filter(returns).cloned().collect();
        if ring.len() > 1 {
            found.insert(ring);
        }
    }
    let mut found: Vec<Vec<String>> = found.into_iter().collect();
    found.sort_by_key(|ring| std::cmp::Reverse(ring.len()));
    found
}

fn reachable<'a>(graph: &'a Graph, from: &'a String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(room) = open.pop() {
        for next in graph.get(room).into_iter().flat_map(BTreeMap::keys) {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proc_macro2::TokenStream;
    use std::path::PathBuf;
    use std::str::FromStr;

    fn source(module: &[&str], text: &str) -> Source {
        let module = module.iter().map(|&name| name.to_owned()).collect();
        let tokens = TokenStream::from_str(text).unwrap().into_iter().collect();
        Source {
            path: PathBuf::from("x.rs"),
            krate: "node",
            module,
            tokens,
        }
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        let sources = [
            source(
                &["a"],
                "use crate::{b::X, c}; use super::d::Y; use self::inner::Z;",
            ),
            source(
                &["a", "inner"],
                "fn f() { super::super::e::g(); println!(\"{}\", crate::f::H) }",
            ),
            source(
                &["b"],
                "pub(in crate::g) fn x() {} mod deep { use super::super::c::C; }",
            ),
            source(&["c"], "use std::crate_like::d;"),
            source(&["d"], ""),
            source(&["e"], ""),
            source(&["f"], ""),
            source(&["g"], ""),
        ];
        let graph = graph(&sources, "node");
        let of = |room: &str| {
            graph
                .get(room)
                .map(|to| to.keys().cloned().collect::<Vec<_>>())
                .unwrap_or_default()
        };
        assert_eq!(of("a"), ["b", "c", "d", "e", "f"]);
        assert_eq!(of("b"), ["c"]);
        assert!(of("c").is_empty());
    }

    #[test]
    fn a_cycle_names_all_that_are_in_it() {
        let sources = [
            source(&["a"], "use crate::b::X;"),
            source(&["b"], "use crate::c::X;"),
            source(&["c"], "use crate::a::X; use crate::d::X;"),
            source(&["d"], ""),
        ];
        assert_eq!(cycles(&graph(&sources, "node")), [["a", "b", "c"]]);
        assert!(cycles(&graph(&sources[..2], "node")).is_empty());
    }
}
