//! A recorder's view of a camera: Retina as the client, and the stamps of the frames that it
//! receives.

use futures::StreamExt;
use holdfast_camera::{CameraHandle, CameraOptions, CameraServer, Handle, Options, Stamp, stamp};
use retina::client::{
    Credentials, Demuxed, Described, PlayOptions, Session, SessionOptions, SetupOptions,
    TcpTransportOptions, Transport, UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, VideoFrame};
use std::time::Duration;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A server with camera 1, configured by `change`.
pub(crate) async fn server(change: impl Fn(&mut CameraOptions)) -> (Handle, CameraHandle) {
    let mut camera = CameraOptions::new(1);
    change(&mut camera);
    let options = Options {
        cameras: vec![camera],
        seed: Some(7),
        ..Options::default()
    };
    let handle = CameraServer::start(options).await.unwrap();
    let camera = handle.camera(1).unwrap();
    (handle, camera)
}

pub(crate) fn tcp() -> Transport {
    Transport::Tcp(TcpTransportOptions::default())
}

pub(crate) fn udp() -> Transport {
    Transport::Udp(UdpTransportOptions::default())
}

pub(crate) async fn describe(
    handle: &Handle,
    login: Option<(&str, &str)>,
) -> Result<Session<Described>, retina::Error> {
    let url = url::Url::parse(&handle.url(1)).unwrap();
    let creds = login.map(|(user, password)| Credentials {
        username: user.to_owned(),
        password: password.to_owned(),
    });
    let described = Session::describe(url, SessionOptions::default().creds(creds));
    tokio::time::timeout(PATIENCE, described)
        .await
        .expect("DESCRIBE was not answered in time")
}

/// The status of the RTSP answer that rejected a request.
pub(crate) fn status(error: &retina::Error) -> u16 {
    error
        .status_code()
        .unwrap_or_else(|| panic!("not refused by the camera: {error}"))
}

pub(crate) struct Player {
    demuxed: Demuxed,
}

impl Player {
    pub(crate) async fn play(handle: &Handle, transport: Transport) -> Self {
        Self::try_play(handle, transport, None).await.unwrap()
    }

    pub(crate) async fn try_play(
        handle: &Handle,
        transport: Transport,
        login: Option<(&str, &str)>,
    ) -> Result<Self, retina::Error> {
        let mut session = describe(handle, login).await?;
        for at in 0..session.streams().len() {
            session
                .setup(
                    at,
                    SetupOptions::default()
                        .transport(transport.clone())
                        .frame_format(FrameFormat::MP4),
                )
                .await?;
        }
        Ok(Self {
            demuxed: session.play(PlayOptions::default()).await?.demuxed()?,
        })
    }

    /// The next item; `None` if the camera ended the session, `Err` if Retina rejects the data.
    pub(crate) async fn item(&mut self) -> Option<Result<CodecItem, retina::Error>> {
        tokio::time::timeout(PATIENCE, self.demuxed.next())
            .await
            .expect("nothing came in time")
    }

    pub(crate) async fn frame(&mut self) -> Result<VideoFrame, retina::Error> {
        loop {
            match self.item().await.expect("the session ended") {
                Ok(CodecItem::VideoFrame(frame)) => return Ok(frame),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn frames(&mut self, count: usize) -> Vec<VideoFrame> {
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(self.frame().await.unwrap());
        }
        frames
    }

    pub(crate) async fn stamps(&mut self, count: usize) -> Vec<Stamp> {
        self.frames(count).await.iter().map(stamp_of).collect()
    }

    /// Whether nothing at all arrives for `time`.
    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.demuxed.next())
            .await
            .is_err()
    }

    pub(crate) fn picture(&self) -> (u32, u32) {
        match self.demuxed.streams()[0].parameters() {
            Some(retina::codec::ParametersRef::Video(video)) => video.pixel_dimensions(),
            other => panic!("no video parameters: {other:?}"),
        }
    }
}

pub(crate) fn stamp_of(frame: &VideoFrame) -> Stamp {
    stamp::find(frame.data()).expect("a frame without a stamp")
}

pub(crate) fn sequences(stamps: &[Stamp]) -> Vec<u64> {
    stamps.iter().map(|stamp| stamp.sequence).collect()
}

pub(crate) fn neighbours(stamps: &[Stamp]) -> bool {
    stamps
        .windows(2)
        .all(|pair| pair[1].sequence == pair[0].sequence + 1)
}

/// Waits until `met`, within [`PATIENCE`].
pub(crate) async fn until(met: impl Fn() -> bool) {
    let waiting = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("it did not come true in time");
}
