//! hls.js in Debian's Chromium, without a screen. Its page reports its progress.

use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The version in `docs/decisions/2026-11-30-gaps-in-hls.md`.
const VERSION: &str = "1.7.4";

/// Maximum size of a request from the page.
const REQUEST_BYTES_MAX: usize = 64 << 10;

const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A report of the page; in the first one nothing has happened yet.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Report {
    /// Its position, in seconds of the presentation.
    pub(crate) at: f64,
    /// Frames shown, or skipped because the machine was busy.
    pub(crate) frames: u64,
    pub(crate) ended: bool,
    /// hls.js's own messages, one for each error; for human readers.
    #[allow(dead_code, reason = "it is shown")]
    pub(crate) errors: Vec<String>,
    pub(crate) fatal: Option<String>,
}

/// A page that plays. Dropping it ends the browser.
pub(crate) struct Page {
    _browser: Child,
    server: JoinHandle<()>,
    report: Arc<Mutex<Report>>,
    _profile: tempfile::TempDir,
}

impl Page {
    pub(crate) async fn play(url: &str) -> Self {
        let script = tokio::task::spawn_blocking(script).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let report = Arc::new(Mutex::new(Report::default()));
        let shared = Arc::clone(&report);
        let server = tokio::spawn(async move {
            let script: Arc<[u8]> = std::fs::read(script).unwrap().into();
            while let Ok((connection, _)) = listener.accept().await {
                let (script, report) = (Arc::clone(&script), Arc::clone(&shared));
                // A connection that breaks off is the browser's business: it asks again.
                tokio::spawn(async move { drop(answer(connection, &script, &report).await) });
            }
        });
        let profile = tempfile::tempdir().unwrap();
        let query: String = url.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let browser = tokio::process::Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--no-first-run",
                "--disable-gpu",
                "--mute-audio",
            ])
            // The page has another origin than the node.
            .args([
                "--autoplay-policy=no-user-gesture-required",
                "--disable-web-security",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{address}/?url={query}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium is installed");
        Self {
            _browser: browser,
            server,
            report,
            _profile: profile,
        }
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock().unwrap().clone()
    }

    /// Waits until `is` holds for the page's report; fails if a fatal error happens before.
    pub(crate) async fn wait(
        &self,
        what: &str,
        within: Duration,
        is: impl Fn(&Report) -> bool,
    ) -> Report {
        let waiting = timeout(within, async {
            loop {
                let report = self.report();
                assert_eq!(
                    report.fatal, None,
                    "hls.js gave up before it was {what}: {report:?}"
                );
                if is(&report) {
                    return report;
                }
                sleep(POLL_INTERVAL).await;
            }
        });
        let waited = waiting.await;
        waited.unwrap_or_else(|_| {
            panic!("after {within:?} hls.js is not {what}: {:?}", self.report())
        })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// hls.js, downloaded once from the package registry.
fn script() -> PathBuf {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCHING.lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hls.js-{VERSION}"));
    let script = folder.join("node_modules/hls.js/dist/hls.min.js");
    if !script.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let quiet = [
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--prefix",
        ];
        let mut npm = Command::new("npm");
        npm.args(quiet)
            .arg(&folder)
            .arg(format!("hls.js@{VERSION}"));
        let output = npm
            .output()
            .unwrap_or_else(|error| panic!("npm cannot be run ({error}); install it"));
        assert!(
            output.status.success(),
            "npm did not bring hls.js {VERSION}: {output:?}"
        );
    }
    script
}

/// Answers one request: the page, the script, or a report.
async fn answer(
    mut connection: TcpStream,
    script: &[u8],
    report: &Mutex<Report>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let (head, length) = loop {
        let head = request.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(head) = head {
            break (head, content_length(&request[..head]));
        }
        read_more(&mut connection, &mut request).await?;
    };
    while request.len() < head + 4 + length {
        read_more(&mut connection, &mut request).await?;
    }
    let (kind, body): (&str, &[u8]) = if request.starts_with(b"POST ") {
        if let Ok(new) = serde_json::from_slice(&request[head + 4..]) {
            *report.lock().unwrap() = new;
        }
        ("text/plain", b"")
    } else if request.starts_with(b"GET /hls.js ") {
        ("text/javascript", script)
    } else {
        ("text/html", include_bytes!("player.html"))
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body).await
}

async fn read_more(connection: &mut TcpStream, request: &mut Vec<u8>) -> std::io::Result<()> {
    let read = connection.read_buf(request).await?;
    if read == 0 || request.len() > REQUEST_BYTES_MAX {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn content_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    value
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}
