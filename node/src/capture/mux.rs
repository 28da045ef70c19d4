//! Recorders' frames as CMAF: the recorder's seam, filled by the control API's fMP4 builder.

use crate::capture::ingest::media::{AudioCodec, TrackParameters, VideoCodec};
use crate::capture::recorder::mux::{Error, Frame, Mux};
use bytes::Bytes;
use holdfast_control_api::fmp4;
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
            } => fmp4::video_init(&fmp4::VideoParameters {
                codec: match codec {
                    VideoCodec::H264 => fmp4::VideoCodec::Avc {
                        avcc: config.to_vec(),
                    },
                    VideoCodec::H265 => fmp4::VideoCodec::Hevc {
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
            } => fmp4::audio_init(&fmp4::AudioParameters {
                codec: match codec {
                    AudioCodec::Aac => fmp4::AudioCodec::Aac {
                        config: config.to_vec(),
                    },
                    AudioCodec::Pcma => fmp4::AudioCodec::PcmAlaw,
                    AudioCodec::Pcmu => fmp4::AudioCodec::PcmUlaw,
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
        fmp4::build_chunk(track, sequence, start, frames).map_err(|error| Error(error.to_string()))
    }
}
