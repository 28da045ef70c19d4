//! `cargo xtask figures`: counts what the house rules limit, so that a change of structure can be
//! compared with the state before it.

use holdfast_tests::tree::functions::{Function, functions};
use holdfast_tests::tree::source::{PRODUCT, Source, sources};
use holdfast_tests::tree::{files, imports, names, read, words};
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask figures [--places]

Counts, over the files of this tree: import cycles between the top-level modules of each crate, type
names that are defined more than once, long functions, long lines, and words that are not used here.

  --places  also where each of them is

Exit codes: 0 counted, 2 wrong usage";

/// A function with more lines does too much.
const LINES_MAX: usize = 70;

/// Columns of a line of code or prose.
const COLUMNS_MAX: usize = 100;

/// A camera property, and a resource of the API: how many files have to know each.
const PROPERTY: &str = "stall_after_ms";
const RESOURCE: &str = "drills";

pub(crate) fn run(args: &[&str]) -> ExitCode {
    let with_places = match args {
        [] => false,
        ["--places"] => true,
        ["-h" | "--help"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [unknown, ..] => {
            eprintln!("unknown argument `{unknown}`\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let sources = sources();
    print_cycles(&sources, with_places);
    print_names(&sources, with_places);
    print_functions(&sources, with_places);
    print_lines(with_places);
    print_words(&sources, with_places);
    print_spread(&sources, with_places);
    ExitCode::SUCCESS
}

fn is_product(source: &Source) -> bool {
    PRODUCT.contains(&source.krate)
}

fn print(what: &str, figure: &str, places: &[String], with_places: bool) {
    println!("{what:<64} {figure:>10}");
    if with_places {
        places.iter().for_each(|place| println!("    {place}"));
    }
}

fn print_cycles(sources: &[Source], with_places: bool) {
    let crates = [
        "storage",
        "consensus",
        "control-api",
        "node",
        "chaos/camera",
        "chaos",
        "chaos/consensus",
    ];
    for krate in crates {
        let graph = imports::graph(sources, krate);
        let cycles = imports::cycles(&graph);
        let mut places: Vec<String> = cycles.iter().map(|ring| ring.join(" ")).collect();
        for ring in &cycles {
            for (from, to) in graph.iter().filter(|(from, _)| ring.contains(from)) {
                let inner = to.iter().filter(|(to, _)| ring.contains(to));
                places.extend(inner.map(|(to, witness)| format!("{from} -> {to} ({witness})")));
            }
        }
        let modules: usize = cycles.iter().map(Vec::len).sum();
        print(
            &format!("modules of {krate} in import cycles"),
            &modules.to_string(),
            &places,
            with_places,
        );
    }
}

fn print_names(sources: &[Source], with_places: bool) {
    let product = names::types(sources.iter().filter(|source| is_product(source)));
    let doubled = product.iter().filter(|(_, places)| places.len() > 1);
    let places: Vec<String> = doubled
        .map(|(name, places)| format!("{name}: {}", places.join(" ")))
        .collect();
    let figure = format!("{:.1} %", names::doubled_percent(&product));
    print(
        "type names that the product defines more than once",
        &figure,
        &places,
        with_places,
    );
}

fn print_functions(sources: &[Source], with_places: bool) {
    let mut all = functions(sources.iter().filter(|source| is_product(source)));
    let long: Vec<String> = all
        .iter()
        .filter(|function| function.lines > LINES_MAX)
        .map(long_function)
        .collect();
    print(
        &format!("functions of more than {LINES_MAX} lines"),
        &long.len().to_string(),
        &long,
        with_places,
    );
    all.sort_by_key(|function| function.tokens);
    let at = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "thousands"
        )]
        let index = ((all.len() - 1) as f64 * part) as usize;
        all[index].tokens
    };
    let figure = format!("{} / {} / {}", at(0.5), at(0.95), at(1.0));
    print(
        "tokens of a function: median / p95 / most",
        &figure,
        &[],
        with_places,
    );
}

fn long_function(function: &Function) -> String {
    format!("{} ({} lines)", function.place, function.lines)
}

fn print_lines(with_places: bool) {
    for (extension, what) in [("rs", "Rust"), ("md", "Markdown")] {
        let mut places = Vec::new();
        let mut longest = 0;
        for path in files(extension) {
            for (number, line) in read(&path).lines().enumerate() {
                let columns = line.chars().count();
                longest = longest.max(columns);
                if columns > COLUMNS_MAX && !is_unbreakable(line) {
                    places.push(format!("{}:{} ({columns})", path.display(), number + 1));
                }
            }
        }
        let what = format!("lines of {what} over {COLUMNS_MAX} columns (longest {longest})");
        print(&what, &places.len().to_string(), &places, with_places);
    }
}

/// Rows of tables, and links or literals without a space.
fn is_unbreakable(line: &str) -> bool {
    let text = line.trim_start();
    text.starts_with('|')
        || !text
            .trim_start_matches(['/', '!', '-', '*', ' '])
            .contains(' ')
}

fn print_words(sources: &[Source], with_places: bool) {
    let mut places = Vec::new();
    for source in sources.iter().filter(|source| is_product(source)) {
        let found = words::in_literals(source);
        places.extend(
            found
                .iter()
                .map(|(line, word)| format!("{}:{line} {word}", source.path.display())),
        );
    }
    print(
        "unwanted words in what operators see",
        &places.len().to_string(),
        &places,
        with_places,
    );
    let documents: Vec<(String, String)> = files("md")
        .iter()
        .map(|path| (shown(path), read(path)))
        .collect();
    print_rate(
        "unwanted words in documents, of a thousand",
        &documents,
        with_places,
    );
    let comments: Vec<(String, String)> = files("rs")
        .iter()
        .map(|path| (shown(path), words::comments(&read(path))))
        .collect();
    print_rate(
        "unwanted words in comments, of a thousand",
        &comments,
        with_places,
    );
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn print_rate(what: &str, texts: &[(String, String)], with_places: bool) {
    let mut places = Vec::new();
    let (mut all, mut unwanted) = (0, 0);
    for (place, text) in texts {
        all += words::count(text);
        let found = words::unwanted(text);
        unwanted += found.len();
        places.extend((!found.is_empty()).then(|| format!("{place}: {}", found.join(", "))));
    }
    #[expect(clippy::cast_precision_loss, reason = "hundreds of thousands")]
    let rate = 1000.0 * unwanted as f64 / all.max(1) as f64;
    print(what, &format!("{rate:.2}"), &places, with_places);
}

fn print_spread(sources: &[Source], with_places: bool) {
    for (what, word) in [
        ("a camera property", PROPERTY),
        ("an API resource", RESOURCE),
    ] {
        let mentions = |source: &&Source| is_product(source) && read(&source.path).contains(word);
        let places: Vec<String> = sources
            .iter()
            .filter(mentions)
            .map(|source| shown(&source.path))
            .collect();
        let what = format!("files of the product that know {what} (`{word}`)");
        print(&what, &places.len().to_string(), &places, with_places);
    }
}
