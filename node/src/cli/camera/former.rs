//! Deleted cameras: what is left of them, and how they are restored.

use crate::cli::resolve;
use crate::cli::table::{Table, or_dash, printable};
use crate::client::Api;
use crate::terminal::error::CliError;
use crate::terminal::output::Output;
use holdfast_control_api::wire::{Camera, DeletedCamera, RestoreCamera};
use reqwest::Method;

pub(super) async fn list(api: &Api, out: Output) -> Result<(), CliError> {
    let deleted: Vec<DeletedCamera> = api.get(&["cameras", "deleted"], &[]).await?;
    out.print(&deleted, |deleted| table(deleted))
}

fn table(deleted: &[DeletedCamera]) -> String {
    let mut table = Table::new(&["ID", "NAME", "DELETED", "BY", "FOOTAGE FROM", "TO", "NOTE"]);
    for camera in deleted {
        table.row(vec![
            camera.id.to_string(),
            camera.name.clone(),
            camera.deleted_at.to_string(),
            camera.by.clone(),
            or_dash(camera.footage.map(|footage| footage.from)),
            or_dash(camera.footage.map(|footage| footage.to)),
            note(camera),
        ]);
    }
    table.to_string()
}

fn note(camera: &DeletedCamera) -> String {
    let origin = camera.origin.as_ref();
    let origin =
        origin.map(|origin| format!("camera {} of cluster {}", origin.camera, origin.cluster));
    let incomplete = (!camera.complete).then(|| "not all nodes say what they have".to_owned());
    [origin, incomplete]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

pub(super) async fn restore(
    api: &Api,
    text: &str,
    name: Option<String>,
    out: Output,
) -> Result<(), CliError> {
    let camera = resolve::deleted(api, text).await?;
    let recorded: Vec<Camera> = api.get(&["cameras"], &[]).await?;
    if let Some(other) = recorded
        .iter()
        .find(|other| name.is_none() && other.name == camera.name)
    {
        let (id, name) = (other.id, printable(&other.name));
        return Err(
            CliError::failed(format!("camera {id} is called {name} by now")).hint(format!(
                "give this one another name: holdfast camera restore {} --name NAME",
                camera.id
            )),
        );
    }
    let path = ["cameras", &camera.id.to_string(), "restore"];
    let answer = api
        .call(Method::POST, &path, Some(&RestoreCamera { name }))
        .await?;
    let restored: Camera = serde_json::from_value(answer).map_err(|error| {
        CliError::failed(format!(
            "it was restored, but the answer cannot be read: {error}"
        ))
    })?;
    out.print(&restored, |camera| {
        let warnings = camera
            .warnings
            .iter()
            .map(|warning| format!("\nwarning: {}", printable(warning)));
        format!(
            "restored camera {} ({}){}",
            camera.id,
            printable(&camera.name),
            warnings.collect::<String>()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_control_api::wire::{CameraOrigin, FootageExtent};
    use holdfast_storage::ids::CameraId;
    use holdfast_storage::time::Timestamp;

    #[test]
    fn the_table_says_whose_what_and_from_when() {
        let gate = DeletedCamera {
            id: CameraId(3),
            name: "gate".to_owned(),
            deleted_at: Timestamp(9_000_000),
            by: "operator \"admin\"".to_owned(),
            origin: None,
            restorable: true,
            footage: Some(FootageExtent {
                from: Timestamp(1_000_000),
                to: Timestamp(8_000_000),
            }),
            complete: true,
        };
        let origin = Some(CameraOrigin {
            cluster: "abc".to_owned(),
            camera: CameraId(1),
        });
        let other = DeletedCamera {
            id: CameraId(4),
            origin,
            footage: None,
            complete: false,
            ..gate.clone()
        };
        let text = table(&[gate, other]);
        assert!(
            text.contains("1970-01-01T00:00:01.000000Z") && text.contains("operator \"admin\""),
            "{text}"
        );
        assert!(
            text.contains("camera 1 of cluster abc; not all nodes say what they have"),
            "{text}"
        );
    }
}
