//! Exit codes distinguish wrong usage, a broken invariant, and a machine that cannot run the
//! scenario.

use crate::program::run;

#[test]
fn scenarios_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = run(dir.path(), &["list"]);
    assert!(
        code == Some(0) && out.lines().any(|line| line.starts_with("leader-kill ")),
        "{out}"
    );
    let (_, out, _) = run(dir.path(), &["list", "--json"]);
    for line in out.lines() {
        let scenario: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            scenario["name"].is_string() && scenario["seconds"].is_number(),
            "{line}"
        );
    }
}

#[test]
fn mistakes_end_with_2_and_name_their_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("mine.toml"),
        "about = \"x\"\nseconds = 10\nnodez = 3\n[[cameras]]\ncount = 1\n",
    )
    .unwrap();
    for (arguments, said) in [
        (
            &["run", "mine.toml"][..],
            "mine.toml:3: unknown field `nodez`",
        ),
        (&["run", "no-such"], "there is no scenario `no-such`"),
        (&["run", "absent.toml"], "absent.toml: cannot be read"),
        (&["run"], "required arguments"),
        (&["run", "leader-kill", "--on", "attach"], "--attach FILE"),
    ] {
        let (code, _, err) = run(dir.path(), arguments);
        assert!(
            code == Some(2) && err.contains(said),
            "{arguments:?}: {code:?} {err}"
        );
    }
}

#[test]
fn a_report_that_is_not_there_is_not_a_broken_one() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = run(dir.path(), &["report", "nowhere"]);
    assert!(
        code == Some(3) && err.contains("report.json"),
        "{code:?} {err}"
    );
}
