//! `holdfast backup` and `holdfast restore`: the cluster's configuration in a sealed file, and
//! back.

use super::args::{BackupArgs, RestoreArgs};
use super::output_file::OutputFile;
use super::passphrase::passphrase;
use super::table::Table;
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_control_api::limits::BACKUP_BYTES_MAX;
use holdfast_control_api::wire::{
    NewBackup, NewRestore, RestoreOutcome, Restored, RestoredItem, RestoredKind,
};
use reqwest::Method;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// What `backup` prints as JSON.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    bytes: u64,
}

pub(super) async fn make(
    args: BackupArgs,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    let mut file = OutputFile::create_private(&args.output, args.force)?;
    let passphrase = passphrase(&args.passphrase, true)?;
    let sealed = api
        .fetch(&["backup"], &NewBackup { passphrase }, BACKUP_BYTES_MAX)
        .await?;
    file.write(&sealed)?;
    let written = Written {
        bytes: file.finish()?,
        file: args.output,
    };
    let describe = |written: &Written| {
        format!(
            "{}: {} bytes; keep the passphrase, and keep it elsewhere",
            written.file.display(),
            written.bytes
        )
    };
    if OutputFile::is_stdout(&written.file) {
        out.print_aside(&written, describe)
    } else {
        out.print(&written, describe)
    }
}

pub(super) async fn restore(
    args: RestoreArgs,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    let backup = read(&args.file)?;
    let passphrase = passphrase(&args.passphrase, false)?;
    let RestoreArgs {
        dry_run, overwrite, ..
    } = args;
    let mut request = NewRestore {
        passphrase,
        backup: STANDARD.encode(backup),
        dry_run,
        overwrite,
        from: 0,
    };
    let mut items = Vec::new();
    let restored = loop {
        let answer = api.call(Method::POST, &["restore"], Some(&request)).await?;
        let answer: Restored = serde_json::from_value(answer).map_err(|error| {
            CliError::failed(format!("the node's answer cannot be read: {error}"))
        })?;
        let is_over = answer.left == 0 || answer.items.is_empty();
        items.extend(answer.items);
        if is_over {
            break Restored { items, ..answer };
        }
        request.from = items.len();
    };
    out.print(&restored, describe)?;
    judge(&restored)
}

fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(BACKUP_BYTES_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CliError::new(
            crate::terminal::error::ExitKind::NotFound,
            format!("{} is not there", path.display()),
        )),
        Err(error) => Err(CliError::failed(format!(
            "cannot read {}: {error}",
            path.display()
        ))),
        Ok(_) if bytes.len() > BACKUP_BYTES_MAX => {
            let why = format!(
                "{} is no backup: it has more than {BACKUP_BYTES_MAX} bytes",
                path.display()
            );
            Err(CliError::failed(why))
        }
        Ok(_) => Ok(bytes),
    }
}

/// # Errors
/// Not everything was restored.
fn judge(restored: &Restored) -> Result<(), CliError> {
    let refused = count(restored, RestoreOutcome::Refused);
    if restored.left > 0 {
        return Err(
            CliError::failed(format!("{} things were not looked at", restored.left))
                .hint("run it again"),
        );
    }
    if refused > 0 {
        let hint = "their lines say why; correct that, and run it again: what is there already \
                    stays as it is";
        return Err(CliError::failed(format!("{refused} things were refused")).hint(hint));
    }
    Ok(())
}

fn count(restored: &Restored, outcome: RestoreOutcome) -> usize {
    restored
        .items
        .iter()
        .filter(|item| item.outcome == outcome)
        .count()
}

fn describe(restored: &Restored) -> String {
    let mut table = Table::new(&["KIND", "NAME", "OUTCOME", "DETAIL"]);
    for RestoredItem {
        kind,
        name,
        outcome,
        detail,
    } in &restored.items
    {
        let outcome = outcome_name(*outcome, restored.dry_run).to_owned();
        table.row(vec![
            kind_name(*kind).to_owned(),
            name.clone(),
            outcome,
            detail.clone(),
        ]);
    }
    let counts = [
        (RestoreOutcome::Added, "added"),
        (RestoreOutcome::Changed, "changed"),
        (RestoreOutcome::Same, "as in the backup already"),
        (
            RestoreOutcome::Differs,
            "differ and stay (--overwrite changes what no node's own file sets)",
        ),
        (RestoreOutcome::Refused, "refused"),
    ];
    let counts = counts.map(|(outcome, what)| (count(restored, outcome), what));
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let head = if restored.dry_run {
        "nothing was changed. It would be: "
    } else {
        ""
    };
    format!(
        "backup of {}, cluster {}\n{table}\n{head}{}",
        restored.made_at,
        restored.cluster,
        counts.join(", ")
    )
}

fn kind_name(kind: RestoredKind) -> &'static str {
    match kind {
        RestoredKind::RetentionClass => "retention class",
        RestoredKind::Settings => "settings",
        RestoredKind::Camera => "camera",
        RestoredKind::Hold => "hold",
        RestoredKind::Node => "node",
    }
}

fn outcome_name(outcome: RestoreOutcome, dry_run: bool) -> &'static str {
    match outcome {
        RestoreOutcome::Same => "same",
        RestoreOutcome::Added if dry_run => "to add",
        RestoreOutcome::Added => "added",
        RestoreOutcome::Changed if dry_run => "to change",
        RestoreOutcome::Changed => "changed",
        RestoreOutcome::Differs => "DIFFERS",
        RestoreOutcome::Refused => "REFUSED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(outcome: RestoreOutcome, dry_run: bool) -> Restored {
        let item = RestoredItem {
            kind: RestoredKind::Camera,
            name: "yard".to_owned(),
            outcome,
            detail: String::new(),
        };
        let made_at = holdfast_storage::time::Timestamp(0);
        Restored {
            dry_run,
            made_at,
            cluster: "c".to_owned(),
            items: vec![item],
            left: 0,
        }
    }

    #[test]
    fn what_was_refused_fails_and_what_differs_names_the_way_on() {
        assert!(judge(&restored(RestoreOutcome::Refused, false)).is_err());
        assert!(
            judge(&Restored {
                left: 2,
                ..restored(RestoreOutcome::Added, false)
            })
            .is_err()
        );
        assert!(judge(&restored(RestoreOutcome::Differs, false)).is_ok());
        assert!(describe(&restored(RestoreOutcome::Differs, false)).contains("--overwrite"));
        let dry = describe(&restored(RestoreOutcome::Added, true));
        assert!(
            dry.contains("to add") && dry.contains("nothing was changed"),
            "{dry}"
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&path).unwrap_err().message.contains("is no backup"));
        assert_eq!(
            read(&dir.path().join("none")).unwrap_err().kind,
            crate::terminal::error::ExitKind::NotFound
        );
    }
}
