//! What to do about the error that a recorder reports of its camera. Pure.

/// Texts of [`crate::capture::ingest::error::SessionError`], and the camera's field to change for
/// each.
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
pub(super) fn camera(error: &str, name: &str) -> String {
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
    use crate::capture::ingest::error::SessionError;
    use crate::capture::ingest::runtime::Carrier;

    #[test]
    fn the_command_fits_what_the_recorder_says() {
        let mend = |error: SessionError| camera(&error.to_string(), "lift");
        assert_eq!(
            mend(SessionError::AuthFailed(401)),
            "holdfast camera edit lift --password-file -"
        );
        assert_eq!(
            mend(SessionError::NotFound(404)),
            "holdfast camera edit lift --url URL"
        );
        assert_eq!(
            mend(SessionError::BadUrl(String::new())),
            "holdfast camera edit lift --url URL"
        );
        assert_eq!(
            mend(SessionError::Redirect(Some(String::new()))),
            "holdfast camera edit lift --url URL"
        );
        assert_eq!(
            mend(SessionError::TransportRefused(Carrier::Tcp)),
            "holdfast camera edit lift --transport auto"
        );
        assert_eq!(
            mend(SessionError::Tls(String::new())),
            "holdfast camera edit lift --tls TLS"
        );
        assert!(mend(SessionError::Login("x")).contains("--username"));
        assert!(
            mend(SessionError::OverBudget {
                sent_bps: 2,
                budget_bps: 1
            })
            .contains("--budget-bps")
        );
        assert!(mend(SessionError::Unreachable("x".to_owned())).contains("network"));
        assert!(mend(SessionError::Ended).contains("docs/cameras.md"));
    }

    #[test]
    fn a_name_cannot_become_a_command() {
        assert_eq!(quoted("gate 1"), "'gate 1'");
        assert_eq!(quoted("--help"), "'--help'");
        assert_eq!(quoted("a'; reboot; '"), r"'a'\''; reboot; '\'''");
    }
}
