//! What to do about the error that a recorder reports of its camera. Pure.

/// What recorders say of their cameras, and the camera's field to change for each.
const CHANGES: [(&str, &str); 8] = [
    ("refused the user name or password", "--password-file -"),
    (
        "the camera's login cannot be used",
        "--username USER --password-file -",
    ),
    ("does not know this path", "--url URL"),
    ("the camera's URL cannot be used", "--url URL"),
    ("the camera says that its stream is at", "--url URL"),
    ("set transport to", "--transport auto"),
    ("no encrypted connection", "--tls TLS"),
    ("raise budget_bps", "--budget-bps BPS"),
];

/// The command that mends it, or what to do at the camera.
#[must_use]
pub fn camera(error: &str, name: &str) -> String {
    let change = CHANGES.iter().find(|(said, _)| error.contains(said));
    match change {
        Some((_, change)) => format!("holdfast camera edit {} {change}", quoted(name)),
        None if error.contains("camera unreachable") => {
            format!(
                "see to its power and network; if it moved: holdfast camera edit {} --url URL",
                quoted(name)
            )
        }
        None => "see to the camera; docs/cameras.md says what each message means".to_owned(),
    }
}

/// Quoted for a shell.
fn quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_a_command() {
        assert_eq!(quoted("gate 1"), "'gate 1'");
        assert_eq!(quoted("--help"), "'--help'");
        assert_eq!(quoted("a'; reboot; '"), r"'a'\''; reboot; '\'''");
    }
}
