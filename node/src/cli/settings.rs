//! `holdfast settings`: what applies to the whole cluster.

use super::args::{FailbackArg, HeadroomArg, SettingsArgs, SettingsCommand};
use crate::client::{Api, ApiOptions};
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_consensus::model::{Failback, HeadroomRule};
use holdfast_control_api::wire::{Settings, SettingsPatch};
use reqwest::Method;

pub(super) async fn run(
    command: SettingsCommand,
    options: ApiOptions,
    out: Output,
) -> Result<(), CliError> {
    let api = Api::new(&options)?;
    let settings: Settings = match command {
        SettingsCommand::Show => api.get(&["settings"], &[]).await?,
        SettingsCommand::Set(args) => {
            let answer = api
                .call(Method::PATCH, &["settings"], Some(&patch(&args)))
                .await?;
            serde_json::from_value(answer).map_err(|error| {
                CliError::failed(format!(
                    "the settings were changed, but the answer cannot be read: {error}"
                ))
            })?
        }
    };
    out.print(&settings, describe)
}

fn patch(args: &SettingsArgs) -> SettingsPatch {
    SettingsPatch {
        headroom: args.headroom.map(|headroom| match headroom {
            HeadroomArg::Warn => HeadroomRule::Warn,
            HeadroomArg::Strict => HeadroomRule::Strict,
        }),
        headroom_over_domains: args.headroom_over_domains,
        failback: args.failback.map(|failback| match failback {
            FailbackArg::Stay => Failback::Stay,
            FailbackArg::Prefer => Failback::Prefer,
        }),
        failback_after_s: args.failback_after_s,
        drill_every_s: args.drill_every_s,
    }
}

fn drill_every(seconds: u32) -> String {
    if seconds == 0 {
        "never by itself".to_owned()
    } else {
        format!("{seconds} s")
    }
}

fn describe(settings: &Settings) -> String {
    let lines = [
        (
            "headroom",
            format!("{:?}", settings.headroom).to_lowercase(),
        ),
        (
            "headroom over domains",
            settings.headroom_over_domains.to_string(),
        ),
        (
            "failback",
            format!("{:?}", settings.failback).to_lowercase(),
        ),
        ("failback after", format!("{} s", settings.failback_after_s)),
        ("drill every", drill_every(settings.drill_every_s)),
    ];
    lines
        .map(|(key, value)| format!("{key:<23}{value}\n"))
        .concat()
}
