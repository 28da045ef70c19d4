//! Checks of exports for several test binaries.

pub(crate) mod rot;
pub(crate) mod strangers;

use holdfast_chaos::site::Site;
use holdfast_chaos::{Error, Result, ffmpeg};
use holdfast_node::demo::footage;
use holdfast_storage::ids::CameraId;
use holdfast_storage::time::Timestamp;

/// Fetches one file and has independent decoders judge it: `re_mp4` its boxes, ffmpeg its pictures.
pub(crate) async fn export_plays(
    site: &mut Site,
    camera: CameraId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<u8>> {
    let file = footage::export(&site.api()?, camera, from, to).await?;
    let parsed = re_mp4::Mp4::read_bytes(&file).map_err(|error| Error::Wrong(error.to_string()))?;
    assert_eq!(parsed.tracks().len(), 1);
    let path = site.dir().join("export.mp4");
    std::fs::write(&path, &file).map_err(|source| Error::Io {
        what: "write the export".into(),
        source,
    })?;
    if ffmpeg::is_installed().await {
        assert_eq!(
            ffmpeg::complaints(&path).await?,
            "",
            "of camera {camera}, from {from} to {to}"
        );
    } else {
        eprintln!("LEFT OUT: decoding the export, for want of ffmpeg");
    }
    Ok(file)
}
