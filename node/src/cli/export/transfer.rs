//! Downloads an export across interruptions: from the next node if one dies, from where it broke
//! off if the footage is still the same, and from the beginning if it is not.

use super::ExportHeaders;
use super::furthest::Furthest;
use super::left_out::LeftOut;
use super::part_file::PartFile;
use crate::cli::output_file::OutputFile;
use crate::cli::progress::transfer_bar;
use crate::client::Api;
use crate::terminal::clock::monotonic_now;
use crate::terminal::error::{CliError, ExitKind};
use indicatif::ProgressBar;
use reqwest::{Response, StatusCode, header};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// Between two tries.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The destination of the bytes.
pub(in crate::cli) enum Sink {
    Part(PartFile),
    /// Readers already have the bytes that were written: it cannot begin again.
    Stdout {
        out: OutputFile,
        tag: Option<String>,
    },
}

/// What to request, and from which nodes.
pub(in crate::cli) struct Transfer<'a> {
    /// The nodes, asked one after the other.
    pub(in crate::cli) apis: Vec<Api>,
    pub(in crate::cli) path: &'a [&'a str],
    pub(in crate::cli) query: &'a [(&'a str, &'a str)],
    /// How long it may make no progress before it is given up.
    pub(in crate::cli) patience: Duration,
}

/// The result.
#[derive(Debug, Default)]
pub(in crate::cli) struct Came {
    pub(in crate::cli) bytes: u64,
    pub(in crate::cli) headers: ExportHeaders,
    pub(in crate::cli) left_out: u64,
}

/// How one attempt ended.
enum Broken {
    /// Another attempt, or another node, may help.
    Passing(CliError),
    Final(CliError),
}

impl Transfer<'_> {
    pub(in crate::cli) async fn run(&self, mut sink: Sink) -> Result<Came, CliError> {
        let bar = transfer_bar();
        let mut furthest = Furthest::new(sink.version(), sink.bytes(), monotonic_now());
        // Counts the chunks left out of the bytes that are there, once those were read.
        let mut seen = None;
        let mut tries = 0;
        let error = loop {
            let api = &self.apis[tries % self.apis.len()];
            tries += 1;
            let error = match self.attempt(api, (&mut sink, &mut seen), &bar).await {
                Ok(headers) => {
                    bar.finish_and_clear();
                    let left_out = seen.as_ref().map_or(0, LeftOut::chunks);
                    return Ok(Came {
                        bytes: sink.finish()?,
                        headers,
                        left_out,
                    });
                }
                Err(Broken::Final(error)) => break error,
                Err(Broken::Passing(error)) => error,
            };
            furthest.reached(sink.version(), sink.bytes(), monotonic_now());
            let is_over = furthest.stuck_for(monotonic_now()) >= self.patience;
            if sink.there().is_none() && tries >= self.apis.len() || is_over {
                break error;
            }
            bar.suspend(|| eprintln!("{error}; trying again"));
            sleep(RETRY_AFTER).await;
        };
        bar.finish_and_clear();
        Err(sink.leave(error))
    }

    async fn attempt(
        &self,
        api: &Api,
        (sink, seen): (&mut Sink, &mut Option<LeftOut>),
        bar: &ProgressBar,
    ) -> Result<ExportHeaders, Broken> {
        // Includes the last byte that is there, so that there is an answer if nothing is missing.
        let there = sink.there().map(|(bytes, tag)| (bytes - 1, tag.to_owned()));
        let asked = there.as_ref().map(|(at, tag)| (*at, tag.as_str()));
        let mut response = api
            .download_from(self.path, self.query, asked)
            .await
            .map_err(|error| {
                let may_pass = error.kind == ExitKind::Unavailable
                    || (there.is_some() && error.kind == ExitKind::NotFound);
                if may_pass {
                    Broken::Passing(error)
                } else {
                    Broken::Final(error)
                }
            })?;
        let headers = ExportHeaders::by(&response);
        let mut again = 0;
        let left_out = match there {
            Some((at, _)) if response.status() == StatusCode::PARTIAL_CONTENT => {
                if begins_at(&response) != Some(at) {
                    return Err(Broken::Final(CliError::failed(
                        "the node answered another part than it was asked for",
                    )));
                }
                again = 1;
                if seen.is_none() {
                    *seen = Some(sink.resume().map_err(Broken::Final)?);
                }
                seen.get_or_insert_default()
            }
            there => {
                if there.is_some() {
                    bar.suspend(|| {
                        eprintln!(
                            "what is there is of other footage, or the footage has changed: \
                                   beginning again"
                        )
                    });
                }
                sink.begin(tag(&response)).map_err(Broken::Final)?;
                seen.insert(LeftOut::default())
            }
        };
        bar.set_length(sink.bytes() - again + response.content_length().unwrap_or_default());
        bar.set_position(sink.bytes());
        bar.reset_eta();
        while let Some(piece) = next_piece(&mut response).await? {
            let new = &piece[usize::try_from(again).unwrap_or(0).min(piece.len())..];
            again -= (piece.len() - new.len()) as u64;
            sink.write(new).map_err(Broken::Final)?;
            left_out.read(new);
            bar.set_position(sink.bytes());
        }
        Ok(headers)
    }
}

async fn next_piece(response: &mut Response) -> Result<Option<bytes::Bytes>, Broken> {
    let broken =
        |error| Broken::Passing(CliError::failed(format!("the export broke off: {error}")));
    response.chunk().await.map_err(broken)
}

/// The tag of the answer, if it is strong enough to resume by.
fn tag(response: &Response) -> Option<&str> {
    let tag = response.headers().get(header::ETAG)?.to_str().ok()?;
    (!tag.starts_with("W/")).then_some(tag)
}

/// The first byte of a part (RFC 9110, 14.4).
fn begins_at(response: &Response) -> Option<u64> {
    let range = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    range
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

impl Sink {
    fn bytes(&self) -> u64 {
        match self {
            Self::Part(part) => part.bytes(),
            Self::Stdout { out, .. } => out.bytes(),
        }
    }

    /// The node's tag for the bytes that are there.
    fn version(&self) -> Option<&str> {
        self.there().map(|(_, tag)| tag)
    }

    fn there(&self) -> Option<(u64, &str)> {
        match self {
            Self::Part(part) => part.there(),
            Self::Stdout { out, tag } => tag
                .as_deref()
                .filter(|_| out.bytes() > 0)
                .map(|tag| (out.bytes(), tag)),
        }
    }

    fn begin(&mut self, of: Option<&str>) -> Result<(), CliError> {
        match self {
            Self::Part(part) => part.begin(of),
            Self::Stdout { out, .. } if out.bytes() > 0 => Err(CliError::failed(
                "the footage has changed since the export began, and what was written is gone",
            )
            .hint("export again, or into a file")),
            Self::Stdout { tag, .. } => {
                *tag = of.map(str::to_owned);
                Ok(())
            }
        }
    }

    /// Continues what an earlier run left; returns the count of the bytes that are there.
    fn resume(&mut self) -> Result<LeftOut, CliError> {
        let mut left_out = LeftOut::default();
        let Self::Part(part) = self else {
            return Ok(left_out);
        };
        let (bytes, name) = (part.bytes(), PathBuf::from(part.part()));
        let read = left_out.read_file(part.resume()?, bytes);
        read.map_err(|error| CliError::failed(format!("cannot read {}: {error}", name.display())))?;
        part.resume()?;
        Ok(left_out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match self {
            Self::Part(part) => part.write(bytes),
            Self::Stdout { out, .. } => out.write(bytes),
        }
    }

    fn finish(self) -> Result<u64, CliError> {
        match self {
            Self::Part(part) => part.finish(),
            Self::Stdout { out, .. } => out.finish(),
        }
    }

    /// The error, with a hint if a later run can continue.
    fn leave(self, error: CliError) -> CliError {
        let Self::Part(part) = self else { return error };
        let name = part.part().display().to_string();
        match part.leave() {
            true => error.hint(format!(
                "{name} keeps what came; the same command with the same times continues it"
            )),
            false => error,
        }
    }
}
