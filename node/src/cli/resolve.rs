//! Resolves names to numbers: commands accept either for cameras and nodes.

use crate::client::Api;
use crate::terminal::error::{CliError, ExitKind};
use holdfast_control_api::wire::{Camera, DeletedCamera, Node};
use holdfast_storage::ids::CameraId;

/// # Errors
/// [`ExitKind::NotFound`] if there is none, [`ExitKind::Failed`] if several have this name.
pub(super) async fn camera(api: &Api, text: &str) -> Result<Camera, CliError> {
    let cameras: Vec<Camera> = api.get(&["cameras"], &[]).await?;
    pick(
        "camera",
        text,
        cameras,
        |camera| camera.id,
        |camera| &camera.name,
    )
}

/// The camera whose footage is meant: one that is recorded, or else one that was deleted. A number
/// that is neither is used as it is: footage outlives what the cluster remembers.
///
/// # Errors
/// As [`camera`].
pub(super) async fn footage(api: &Api, text: &str) -> Result<CameraId, CliError> {
    match camera(api, text).await {
        Ok(camera) => return Ok(camera.id),
        Err(error) if error.kind != ExitKind::NotFound => return Err(error),
        Err(_) => {}
    }
    match deleted(api, text).await {
        Ok(camera) => Ok(camera.id),
        Err(error) if error.kind == ExitKind::NotFound => text.parse().map_err(|_| error),
        Err(error) => Err(error),
    }
}

/// A deleted camera.
///
/// # Errors
/// As [`camera`].
pub(super) async fn deleted(api: &Api, text: &str) -> Result<DeletedCamera, CliError> {
    let cameras: Vec<DeletedCamera> = api.get(&["cameras", "deleted"], &[]).await?;
    pick(
        "camera, deleted or not,",
        text,
        cameras,
        |camera| camera.id,
        |camera| &camera.name,
    )
    .map_err(|error| {
        error.hint("`holdfast camera list` and `holdfast camera list --deleted` show them")
    })
}

/// # Errors
/// As [`camera`].
pub(super) async fn node(api: &Api, text: &str) -> Result<Node, CliError> {
    let nodes: Vec<Node> = api.get(&["nodes"], &[]).await?;
    pick("node", text, nodes, |node| node.id, |node| &node.name)
}

/// A number takes precedence over a name that looks like one.
fn pick<T, I: std::str::FromStr + PartialEq>(
    what: &str,
    text: &str,
    items: Vec<T>,
    id: impl Fn(&T) -> I,
    name: impl Fn(&T) -> &String,
) -> Result<T, CliError> {
    let number = text.parse::<I>().ok();
    let by_number = items.iter().position(|item| Some(id(item)) == number);
    let named: Vec<usize> = (0..items.len())
        .filter(|&index| name(&items[index]) == text)
        .collect();
    let index = match (by_number, named.as_slice()) {
        (Some(index), _) => index,
        (None, [index]) => *index,
        (None, []) => {
            return Err(CliError::new(
                ExitKind::NotFound,
                format!("no {what} has the name or number `{text}`"),
            ));
        }
        (None, several) => {
            return Err(CliError::failed(format!(
                "{} {what}s have the name `{text}`; give its number",
                several.len()
            )));
        }
    };
    items
        .into_iter()
        .nth(index)
        .ok_or_else(|| CliError::failed(format!("no {what} `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<(u32, String), CliError> {
        let items = [(1, "gate"), (2, "7"), (7, "yard"), (8, "twin"), (9, "twin")]
            .map(|(id, name)| (id, name.to_owned()));
        pick(
            "camera",
            text,
            items.to_vec(),
            |item| item.0,
            |item| &item.1,
        )
    }

    #[test]
    fn numbers_go_before_names() {
        assert_eq!(find("gate").unwrap().0, 1);
        assert_eq!(find("7").unwrap().0, 7);
        assert_eq!(find("unknown").unwrap_err().kind, ExitKind::NotFound);
        assert!(find("twin").unwrap_err().message.contains("2 cameras"));
    }
}
