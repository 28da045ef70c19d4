//! `docs/operations.md` has every metric of the sources, and no others.

use super::metrics::{constructed, prefixed, sources};
use super::{assert_none, read};
use std::collections::BTreeSet;
use std::path::Path;

/// Sources whose metrics nodes serve; tests also name metrics that do not exist.
const SERVED: [&str; 4] = [
    "storage/src",
    "consensus/src",
    "control-api/src",
    "node/src",
];

/// Names in backquotes at the beginning of a table's row; conditions contain blanks.
fn documented(text: &str) -> BTreeSet<String> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.filter(|word| word.starts_with("holdfast_") && !word.contains(' '))
        .map(str::to_owned)
        .collect()
}

fn served() -> BTreeSet<String> {
    let sources = sources().into_iter().filter(|path| {
        SERVED
            .iter()
            .any(|folder| path.starts_with(Path::new(folder)))
    });
    let texts: Vec<String> = sources.map(|path| read(&path)).collect();
    let names = texts
        .iter()
        .flat_map(|text| text.lines().flat_map(prefixed).chain(constructed(text)));
    names
        .filter(|name| name.starts_with("holdfast_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_is_documented() {
    let (documented, served) = (documented(&read(Path::new("docs/operations.md"))), served());
    let missing: Vec<String> = served.difference(&documented).cloned().collect();
    assert_none("metrics that docs/operations.md does not explain", &missing);
    let gone: Vec<String> = documented.difference(&served).cloned().collect();
    assert_none("metrics in docs/operations.md that no source has", &gone);
}

#[test]
fn names_are_found_in_tables_only() {
    let text = "see `holdfast_a_total`\n| `holdfast_b_bytes` | `holdfast_c_info` |\n| `other` |";
    assert_eq!(
        documented(text),
        BTreeSet::from(["holdfast_b_bytes".to_owned()])
    );
}
