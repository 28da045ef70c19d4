//! Runs scenarios, several in parallel if asked to, and keeps a record of them.

use super::Ending;
use super::args::RunArgs;
use super::execute::Plan;
use crate::report::{Report, table};
use crate::{Error, Result, io_error};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A scenario and how often it is to run.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) plans: Vec<Plan>,
}

/// Runs all of them, `args.jobs` at a time.
///
/// # Errors
/// The first error that concerns all of them, such as an interruption: no further run starts then,
/// and those in progress are awaited.
pub(super) fn work(entries: Vec<Entry>, args: &RunArgs, command_line: String) -> Result<Ending> {
    let mut queue = VecDeque::new();
    let mut book = Book {
        table: args.table.clone(),
        command_line,
        skips_what_cannot_run: args.all,
        ..Book::default()
    };
    for (place, Entry { name, plans }) in entries.into_iter().enumerate() {
        book.pages.push(Page {
            name,
            left: plans.len(),
            ..Page::default()
        });
        queue.extend(plans.into_iter().map(|plan| (place, plan)));
    }
    let jobs = (args.jobs as usize).min(queue.len());
    let (queue, book) = (Mutex::new(queue), Mutex::new(book));
    let worker = || {
        loop {
            // Not in the condition of a `while let`: the lock would be held during the run.
            let Some((place, plan)) = locked(&queue).pop_front() else {
                return;
            };
            if locked(&book).pages[place].cannot_run {
                continue;
            }
            let outcome = plan.run((jobs > 1).then(|| plan.label()));
            if !locked(&book).write(place, outcome) {
                locked(&queue).clear();
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(worker);
        }
    });
    book.into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .close()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Book {
    /// In the order in which they were requested.
    pages: Vec<Page>,
    table: Option<PathBuf>,
    command_line: String,
    /// Reports scenarios that cannot run here as left out, and continues.
    skips_what_cannot_run: bool,
    fatal: Option<Error>,
}

/// The results of one scenario.
#[derive(Default)]
struct Page {
    name: String,
    /// Number of runs that have not ended.
    left: usize,
    reports: Vec<Report>,
    cannot_run: bool,
    failed: bool,
}

impl Book {
    /// Returns whether the remaining runs may continue.
    fn write(&mut self, place: usize, outcome: Result<Report>) -> bool {
        let page = &mut self.pages[place];
        page.left -= 1;
        match outcome {
            Ok(report) => page.reports.push(report),
            Err(Error::CannotRun(why)) if self.skips_what_cannot_run => {
                if !page.cannot_run {
                    eprintln!("*** {} is LEFT OUT: {why} ***", page.name);
                }
                page.cannot_run = true;
            }
            Err(error @ (Error::Interrupted | Error::Usage(_) | Error::Scenario(_))) => {
                self.fatal.get_or_insert(error);
                return false;
            }
            // The others may run nevertheless.
            Err(error) => {
                eprintln!("error: {}: {error}", page.name);
                page.failed = true;
            }
        }
        if page.left == 0 && page.reports.len() > 1 {
            page.reports.sort_by_key(|report| report.seed);
            print!("{}: {}", page.name, table::distribution(&page.reports));
        }
        // After each run: a long series that is interrupted has its table so far.
        if let Err(error) = self.write_table() {
            self.fatal.get_or_insert(error);
            return false;
        }
        true
    }

    fn write_table(&self) -> Result<()> {
        let Some(path) = &self.table else {
            return Ok(());
        };
        let reports: Vec<Report> = self
            .pages
            .iter()
            .flat_map(|page| page.reports.iter().cloned())
            .collect();
        std::fs::write(path, table::write(&reports, &self.command_line))
            .map_err(io_error(format!("write {}", path.display())))
    }

    fn close(self) -> Result<Ending> {
        if let Some(error) = self.fatal {
            return Err(error);
        }
        let names = |is: fn(&Page) -> bool| {
            self.pages
                .iter()
                .filter(|page| is(page))
                .map(|page| page.name.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (left_out, failed) = (names(|page| page.cannot_run), names(|page| page.failed));
        if !left_out.is_empty() {
            println!("left out: {left_out}");
        }
        if !failed.is_empty() {
            println!("could not be run: {failed}");
        }
        let holds = self
            .pages
            .iter()
            .flat_map(|page| &page.reports)
            .all(Report::holds);
        Ok(match (holds, failed.is_empty()) {
            (false, _) => Ending::Broken,
            (true, false) => Ending::CouldNotRun,
            (true, true) => Ending::Holds,
        })
    }
}
