//! Reasons for a node not to start: the error names the problem, its place and the remedy.

use holdfast_chaos::disk::Mount;
use holdfast_chaos::oracle::{count_all, expect_whole};
use holdfast_chaos::site::{Site, SiteOptions};
use holdfast_chaos::{Result, process};
use holdfast_node::config::Config;
use holdfast_node::terminal::clock::wall_now;
use std::path::PathBuf;
use std::time::Duration;

/// The longest that a failing start may take.
const REFUSAL_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_reports_what_is_taken_and_the_first_loses_nothing() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(1, 1)).await?;
    let from = wall_now();
    let config = site.cluster.config(0).clone();

    let port = refused(&site, &config).await?;
    assert!(
        port.contains("cannot listen on") && port.contains("listen.api"),
        "{port}"
    );

    let mut elsewhere = config.clone();
    let spare = Site::spare_addresses()?;
    (elsewhere.listen.api, elsewhere.listen.peer) = (spare[0], spare[1]);
    let directory = refused(&site, &elsewhere).await?;
    let pid = site.cluster.pid(0).expect("it runs").to_string();
    assert!(
        directory.contains("in use by process") && directory.contains(&pid),
        "{directory}"
    );

    tokio::time::sleep(Duration::from_secs(1)).await;
    expect_whole(&count_all(&mut site, from, wall_now()).await?)?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_data_directory_is_refused_with_its_name_and_harmed_in_nothing() -> Result<()> {
    let mut site = Site::start(SiteOptions::new(1, 1)).await?;
    let from = wall_now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let to = wall_now();
    site.wait_recorded_beyond(to.plus(Duration::from_secs(1)))
        .await?;
    assert_eq!(
        site.cluster
            .stop(0, holdfast_chaos::site::STOP_TIMEOUT)
            .await?
            .code(),
        Some(0)
    );

    let config = site.cluster.config(0).clone();
    let Some(mount) = Mount::read_only(&config.data_dir)? else {
        eprintln!("LEFT OUT: a read-only data directory, because this process may not mount");
        site.pass();
        return Ok(());
    };
    let output = refused(&site, &config).await?;
    assert!(
        output.contains(&*config.data_dir.to_string_lossy()) && output.contains("read-only"),
        "{output}"
    );
    drop(mount);

    site.cluster.start(0)?;
    site.cluster.wait_ready(0).await?;
    expect_whole(&count_all(&mut site, from, to).await?)?;
    site.pass();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_key_is_reported_with_file_line_and_name() -> Result<()> {
    let site = Site::prepare(SiteOptions::new(1, 0)).await?;
    let mut text =
        std::fs::read_to_string(site.cluster.config_path(0)).expect("the node's configuration");
    text.push_str("\n[storage_]\ncolour = \"blue\"\n");
    let line = text
        .lines()
        .position(|line| line == "[storage_]")
        .expect("just added")
        + 1;
    let path = site.dir().join("unknown.toml");
    std::fs::write(&path, text).expect("a file");
    for command in [["config", "check"].as_slice(), &["serve", "--config"]] {
        let path = path.to_string_lossy();
        let ended = process::run(&[command, &[&*path]].concat(), REFUSAL_MAX).await?;
        let output = format!("{}{}", ended.stdout, ended.stderr);
        assert_ne!(ended.code, Some(0), "{output}");
        assert!(
            output.contains(&format!("{path}:{line}")) && output.contains("storage_"),
            "{output}"
        );
    }
    site.pass();
    Ok(())
}

/// Starts a node that must not come up; returns its output.
async fn refused(site: &Site, config: &Config) -> Result<String> {
    let path: PathBuf = site.dir().join("second.toml");
    std::fs::write(
        &path,
        toml::to_string(config).expect("a configuration is TOML"),
    )
    .expect("a file");
    let ended = process::run(
        &["serve", "--config", &*path.to_string_lossy()],
        REFUSAL_MAX,
    )
    .await?;
    assert!(ended.code.is_some_and(|code| code != 0), "{ended:?}");
    Ok(ended.stderr)
}
