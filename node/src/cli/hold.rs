//! `holdfast hold`: footage that retention may not delete.

use super::args::{HoldAddArgs, HoldCommand};
use super::table::{Table, or_dash};
use super::{resolve, when};
use crate::client::{Api, ApiOptions};
use crate::terminal::clock::wall_now;
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::wire::{Hold, NewHold};
use reqwest::Method;

pub(super) async fn run(
    command: HoldCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    match command {
        HoldCommand::Add(args) => add(args, &options, out).await,
        HoldCommand::List => {
            let holds: Vec<Hold> = Api::new(&options)?.get(&["holds"], &[]).await?;
            out.print(&holds, |holds| table(holds))
        }
        HoldCommand::Remove { hold } => {
            let (api, id) = (Api::new(&options)?, hold.to_string());
            let hold: Hold = api.get(&["holds", &id], &[]).await?;
            api.delete(&["holds", &id], &[]).await?;
            out.print(&hold, |hold| {
                format!("removed hold {} of camera {}", hold.id, hold.camera)
            })
        }
    }
}

async fn add(args: HoldAddArgs, options: &ApiOptions, out: Output) -> Result<(), CliError> {
    let now = wall_now();
    let time = |key: &str, text: &str| {
        when::parse(text, now).map_err(|error| CliError::usage(format!("{key}: {error}")))
    };
    let from = time("--from", &args.from)?;
    let to = args.to.as_deref().map(|to| time("--to", to)).transpose()?;
    if let Some(to) = to.filter(|to| *to <= from) {
        return Err(CliError::usage(format!(
            "--from ({from}) is not before --to ({to})"
        )));
    }
    let api = Api::new(options)?;
    let camera = resolve::footage(&api, &args.camera).await?;
    let new = NewHold {
        reason: args.reason,
        camera,
        from,
        to,
    };
    let answer = api.call(Method::POST, &["holds"], Some(&new)).await?;
    let created: Hold = serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "the hold was added, but the answer cannot be read: {error}"
        ))
    })?;
    out.print(&created, |hold| {
        format!(
            "added hold {}: camera {} from {} to {}",
            hold.id,
            hold.camera,
            hold.from,
            end(hold)
        )
    })
}

fn end(hold: &Hold) -> String {
    hold.to
        .map_or_else(|| "no end".to_owned(), |to| to.to_string())
}

fn table(holds: &[Hold]) -> String {
    let mut table = Table::new(&["ID", "CAMERA", "FROM", "TO", "SINCE", "REASON"]);
    for hold in holds {
        let Hold {
            id,
            reason,
            camera,
            from,
            to,
            created_at,
        } = hold;
        table.row(vec![
            id.to_string(),
            camera.to_string(),
            from.to_string(),
            or_dash(*to),
            created_at.to_string(),
            reason.clone(),
        ]);
    }
    table.to_string()
}
