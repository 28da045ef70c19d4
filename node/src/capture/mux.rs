//! Recorders' frames as CMAF: fills the recorder's seam with `holdfast_storage::cmaf`.

use crate::capture::ingest::media::{AudioCodec, TrackParameters, VideoCodec};
use crate::capture::recorder::mux::{Error, Frame, Mux};
use bytes::Bytes;
use holdfast_storage::cmaf;
use holdfast_storage::ids::TrackKind;
use holdfast_storage::time::Timestamp;

#[cfg(test)]
mod tests;

pub(crate) struct CmafMux;

impl Mux for CmafMux {
    fn init(&self, parameters: &TrackParameters) -> Result<Bytes, Error> {
        match parameters {
            TrackParameters::Video {
                codec,
                config,
                width,
                height,
                pixel_aspect_ratio,
                ..
            } => cmaf::video_init(&cmaf::VideoParameters {
                codec: match codec {
                    VideoCodec::H264 => cmaf::VideoCodec::Avc {
                        avcc: config.to_vec(),
                    },
                    VideoCodec::H265 => cmaf::VideoCodec::Hevc {
                        hvcc: config.to_vec(),
                    },
                },
                width: *width,
                height: *height,
                pixel_aspect: *pixel_aspect_ratio,
            }),
            TrackParameters::Audio {
                codec,
                config,
                channels,
                timescale,
            } => cmaf::audio_init(&cmaf::AudioParameters {
                codec: match codec {
                    AudioCodec::Aac => cmaf::AudioCodec::Aac {
                        config: config.to_vec(),
                    },
                    AudioCodec::Pcma => cmaf::AudioCodec::PcmAlaw,
                    AudioCodec::Pcmu => cmaf::AudioCodec::PcmUlaw,
                },
                sample_rate_hz: *timescale,
                channels: *channels,
            }),
        }
        .map_err(|error| Error(error.to_string()))
    }

    fn chunk(
        &self,
        track: TrackKind,
        sequence: u32,
        start: Timestamp,
        frames: &[Frame],
    ) -> Result<Vec<Bytes>, Error> {
        cmaf::build_chunk(track, sequence, start, frames).map_err(|error| Error(error.to_string()))
    }
}
