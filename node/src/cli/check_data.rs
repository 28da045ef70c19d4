//! `holdfast config check --data`: may a node use the files in its folders? Changes nothing.

use super::check;
use crate::config::Config;
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use rustix::fs::{Access, access};
use serde::Serialize;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Problems that the text names; the JSON has [`NAMED_MAX`].
const LINES_MAX: usize = 20;
const NAMED_MAX: usize = 10_000;
/// No file of a node lies deeper.
const DEPTH_MAX: usize = 8;

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Files and folders that were examined.
    looked_at: u64,
    /// At most [`NAMED_MAX`].
    problems: Vec<Problem>,
    problems_left_out: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Problem {
    path: PathBuf,
    problem: String,
}

/// # Errors
/// The file is not valid, or something in its folders cannot be used.
pub(super) fn run(file: &Path, out: Output) -> Result<(), CliError> {
    let Ok(config) = Config::load(file) else {
        return check::run(file, out);
    };
    let mut report = Report::default();
    for dir in folders(&config) {
        report.look_at(&dir);
    }
    out.print(&report, describe)?;
    let count = report.problems.len() as u64 + report.problems_left_out;
    if count == 0 {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "{count} files or folders cannot be used by the node"
    ))
    .hint(
        "was the node run as another user once? `chown -R` its folders to its user. It starts all \
         the same, but for its Raft log: what it cannot read is not shown",
    ))
}

/// Folders in `data_dir` are examined together with it.
fn folders(config: &Config) -> Vec<PathBuf> {
    let volumes = config
        .volume_paths()
        .into_iter()
        .filter(|path| !path.starts_with(&config.data_dir));
    std::iter::once(config.data_dir.clone())
        .chain(volumes)
        .collect()
}

impl Report {
    /// A missing folder is no problem: the node creates it.
    fn look_at(&mut self, dir: &Path) {
        match std::fs::metadata(dir) {
            Ok(top) => self.walk(dir, &top, top.uid(), DEPTH_MAX),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.add(dir, error.to_string()),
        }
    }

    fn walk(&mut self, path: &Path, found: &Metadata, owner: u32, depth: usize) {
        self.looked_at += 1;
        if found.uid() != owner {
            self.add(
                path,
                format!(
                    "belongs to user {}, its folder to user {owner}",
                    found.uid()
                ),
            );
        } else if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK) {
            self.add(
                path,
                format!(
                    "user {} may not read and write it: {error}",
                    rustix::process::getuid().as_raw()
                ),
            );
        }
        if !found.is_dir() || depth == 0 {
            return;
        }
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.add(path, format!("cannot be listed: {error}")),
        };
        for entry in entries.flatten() {
            // A file that was removed in between is ignored.
            if let Ok(found) = entry.metadata() {
                self.walk(&entry.path(), &found, owner, depth - 1);
            }
        }
    }

    fn add(&mut self, path: &Path, problem: String) {
        if self.problems.last().is_some_and(|last| last.path == path) {
            return;
        }
        if self.problems.len() < NAMED_MAX {
            self.problems.push(Problem {
                path: path.to_owned(),
                problem,
            });
        } else {
            self.problems_left_out += 1;
        }
    }
}

fn describe(report: &Report) -> String {
    let count = report.problems.len() as u64 + report.problems_left_out;
    let mut lines = vec![format!(
        "{} files and folders looked at, {count} cannot be used",
        report.looked_at
    )];
    let named = report.problems.iter().take(LINES_MAX);
    lines.extend(named.map(|Problem { path, problem }| format!("{}: {problem}", path.display())));
    let more = count.saturating_sub(LINES_MAX as u64);
    lines.extend((more > 0).then(|| format!("{more} more; --json names all")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segments/default/0000000001.hfs");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "footage").unwrap();
        let mut sound = Report::default();
        sound.look_at(dir.path());
        assert_eq!((sound.looked_at, sound.problems.len()), (4, 0));
        // Root may read any file whatever its mode, and no other user can give a file away.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(65_534), None).unwrap();
        } else {
            fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
        }
        let mut report = Report::default();
        report.look_at(dir.path());
        assert_eq!(
            report
                .problems
                .iter()
                .map(|problem| &problem.path)
                .collect::<Vec<_>>(),
            [&path]
        );
        assert!(
            describe(&report).contains("0000000001.hfs: "),
            "{}",
            describe(&report)
        );
    }

    #[test]
    fn folders_that_are_not_there_yet_are_no_problem() {
        let mut report = Report::default();
        report.look_at(Path::new("/nowhere/at/all"));
        assert!(report.problems.is_empty());
    }
}
