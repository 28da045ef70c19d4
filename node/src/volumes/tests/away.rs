//! Volumes whose disk is not where it was, is a copy, or cannot be written; and numbers that cannot
//! be read.

use super::*;
use holdfast_storage::disk::mark_new;
use std::fs;

fn status(volumes: &Volumes, at: usize) -> (u16, String, String) {
    let status = volumes.statuses().swap_remove(at);
    (
        status.index,
        status.state,
        status.trouble.unwrap_or_default(),
    )
}

/// A volume in `a` with a chunk of the camera, closed again.
async fn with_footage(dir: &TempDir) -> Config {
    let config = config(dir, &[&dir.path().join("a")]);
    let volumes = open(&config).await.unwrap();
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    stop(&volumes).await;
    config
}

async fn stop(volumes: &Volumes) {
    volumes.close().await.unwrap();
    while !volumes.opened().iter().all(|volume| volume.has_ended()) {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_away_and_is_taken_up_when_it_appears() {
    let dir = TempDir::new().unwrap();
    let (a, aside) = (dir.path().join("a"), dir.path().join("aside"));
    let config = with_footage(&dir).await;
    fs::rename(&a, &aside).unwrap();
    // With an empty mount point, and without one.
    for has_mount_point in [true, false] {
        if has_mount_point {
            fs::create_dir(&a).unwrap();
        }
        let volumes = open(&config).await.unwrap();
        tokio::spawn(volumes.clone().watch());
        let (index, state, trouble) = status(&volumes, 0);
        assert_eq!((index, state.as_str()), (0, "away"));
        assert!(
            trouble.contains("is its disk mounted?") && trouble.contains("holdfast volume init"),
            "{trouble}"
        );
        assert!(
            volumes
                .writable()
                .unwrap_err()
                .contains("is its disk mounted?")
        );
        assert!(matches!(
            sink(&volumes).append("default", chunk(1)),
            Err(SinkError::Failed(_))
        ));
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(a.exists(), has_mount_point);
        if has_mount_point {
            assert_eq!(
                fs::read_dir(&a).unwrap().count(),
                0,
                "nothing is written there"
            );
            fs::remove_dir(&a).unwrap();
        }
        fs::rename(&aside, &a).unwrap();
        eventually("it is taken up", || volumes.writable().is_ok()).await;
        recovered(&volumes).await;
        assert_eq!(status(&volumes, 0), (0, "active".to_owned(), String::new()));
        assert_eq!(stored(&volumes).await, [(0, 0)]);
        stop(&volumes).await;
        fs::rename(&a, &aside).unwrap();
    }
}

#[tokio::test]
async fn a_replaced_disk_is_used_once_an_operator_says_so() {
    let dir = TempDir::new().unwrap();
    let (a, aside) = (dir.path().join("a"), dir.path().join("aside"));
    let config = with_footage(&dir).await;
    fs::rename(&a, &aside).unwrap();
    fs::create_dir(&a).unwrap();
    let volumes = open(&config).await.unwrap();
    tokio::spawn(volumes.clone().watch());
    assert_eq!(status(&volumes, 0).1, "away");
    mark_new(&a).unwrap();
    eventually("the new one is used", || volumes.writable().is_ok()).await;
    assert_eq!(
        status(&volumes, 0),
        (1, "active".to_owned(), String::new()),
        "with a number of its own"
    );
    assert!(!a.join("volume.new").exists(), "it counts once");
    stop(&volumes).await;
    fs::rename(&a, dir.path().join("second")).unwrap();
    let volumes = open(&config).await.unwrap();
    assert_eq!(
        (status(&volumes, 0).0, status(&volumes, 0).1),
        (1, "away".to_owned())
    );
}

#[tokio::test]
async fn a_volume_whose_disk_goes_while_it_records_is_left_and_taken_up_again() {
    let dir = TempDir::new().unwrap();
    let [a, b, aside] = ["a", "b", "aside"].map(|name| dir.path().join(name));
    let volumes = open(&config(&dir, &[&a, &b])).await.unwrap();
    tokio::spawn(volumes.clone().watch());
    let sink = sink(&volumes);
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(0)).unwrap();
    volume(&volumes, 0).handle.flush().await.unwrap();
    fs::rename(&a, &aside).unwrap();
    fs::create_dir(&a).unwrap();
    eventually("it is away", || status(&volumes, 0).1 == "away").await;
    assert_eq!(
        fs::read_dir(&a).unwrap().count(),
        0,
        "no probe is written there either"
    );
    assert!(matches!(
        sink.append("default", chunk(1)),
        Err(SinkError::Moved { .. })
    ));
    sink.append("default", Record::Init(init())).unwrap();
    sink.append("default", chunk(2)).unwrap();
    volume(&volumes, 1).handle.flush().await.unwrap();
    fs::remove_dir(&a).unwrap();
    fs::rename(&aside, &a).unwrap();
    eventually("it is back", || status(&volumes, 0).1 == "active").await;
    recovered(&volumes).await;
    assert_eq!(stored(&volumes).await, [(0, 0), (2, 1)]);
    let status = &volumes.statuses()[0];
    assert_eq!((status.failures, status.reattachments), (1, 1));
    stop(&volumes).await;
}

#[tokio::test]
async fn of_a_volume_and_its_copy_only_one_is_used() {
    let dir = TempDir::new().unwrap();
    let (a, copy) = (dir.path().join("a"), dir.path().join("copy"));
    with_footage(&dir).await;
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&a, &copy])
        .status()
        .unwrap();
    assert!(copied.success());
    let before = fs::read_dir(copy.join("segments/default")).unwrap().count();
    let volumes = open(&config(&dir, &[&copy, &a])).await.unwrap();
    let mut states: Vec<_> = volumes
        .statuses()
        .into_iter()
        .map(|status| (status.path, status.state))
        .collect();
    states.sort();
    let named = |path: &Path, state: &str| (path.display().to_string(), state.to_owned());
    assert_eq!(states, [named(&a, "active"), named(&copy, "away")]);
    let troubles: Vec<_> = volumes
        .statuses()
        .into_iter()
        .filter_map(|status| status.trouble)
        .collect();
    assert!(
        troubles.len() == 1 && troubles[0].contains("is a copy of the volume at"),
        "{troubles:?}"
    );
    stop(&volumes).await;
    assert_eq!(
        fs::read_dir(copy.join("segments/default")).unwrap().count(),
        before
    );
    // Only the copy is left, at another place: it is the volume.
    fs::rename(&a, dir.path().join("gone")).unwrap();
    let volumes = open(&config(&dir, &[&copy])).await.unwrap();
    assert_eq!(status(&volumes, 0), (0, "active".to_owned(), String::new()));
    stop(&volumes).await;
}

#[tokio::test]
async fn numbers_that_cannot_be_read_are_not_given_again() {
    let dir = TempDir::new().unwrap();
    let config = with_footage(&dir).await;
    let register = dir.path().join("volumes.json");
    let kept = fs::read(&register).unwrap();
    fs::write(&register, "{").unwrap();
    let volumes = open(&config).await.unwrap();
    let (index, state, trouble) = status(&volumes, 0);
    assert!(
        index >= 1 << 15 && state == "active" && trouble.contains("volumes.json cannot be read"),
        "{trouble}"
    );
    assert_eq!(
        stored(&volumes).await,
        [(0, index)],
        "it records and serves all the same"
    );
    stop(&volumes).await;
    assert_eq!(
        fs::read(&register).unwrap(),
        b"{",
        "it is left for its owner to mend"
    );
    fs::write(&register, kept).unwrap();
    let volumes = open(&config).await.unwrap();
    assert_eq!(status(&volumes, 0), (0, "active".to_owned(), String::new()));
    stop(&volumes).await;
}

#[tokio::test]
async fn a_segment_that_cannot_be_read_is_named() {
    let dir = TempDir::new().unwrap();
    let config = with_footage(&dir).await;
    // A path that not even root can open.
    let nowhere = dir.path().join("nowhere");
    std::os::unix::fs::symlink(
        nowhere,
        dir.path().join("a/segments/default/0000000099.hfs"),
    )
    .unwrap();
    let volumes = open(&config).await.unwrap();
    let (_, state, trouble) = status(&volumes, 0);
    assert_eq!(state, "active");
    assert!(
        trouble.contains("1 of its segments are not listed") && trouble.contains("0000000099.hfs"),
        "{trouble}"
    );
    stop(&volumes).await;
}
