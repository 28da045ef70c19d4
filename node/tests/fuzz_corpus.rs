//! Runs the fuzz targets for what cameras send over their corpora and some thousand seeded
//! variations. `tests/fuzz` runs the same without end.

#[path = "../../tests/fuzz/src/cameras.rs"]
mod cameras;
#[path = "../../tests/fuzz/src/mutate.rs"]
mod mutate;

use mutate::replay;

#[test]
fn rtsp_connections() {
    replay("rtsp", cameras::rtsp, 20_000);
}

#[test]
fn descriptions() {
    replay("sdp", cameras::sdp, 20_000);
}

#[test]
fn h264_payloads() {
    replay("h264", cameras::h264, 20_000);
}

#[test]
fn h265_payloads() {
    replay("h265", cameras::h265, 20_000);
}

#[test]
fn rtp_packets() {
    replay("rtp", cameras::rtp, 20_000);
}

#[test]
fn supplemental_information() {
    replay("sei", cameras::sei, 20_000);
}

#[test]
fn parameter_sets() {
    replay("parameter_sets", cameras::parameter_sets, 20_000);
}

#[test]
fn audio_payloads() {
    replay("audio", cameras::audio, 20_000);
}
