//! Routes of footage itself: HLS playlists and segments, growing lists, I-frames, MP4 exports.

mod asked;
mod byte_ranges;
mod chunk_stream;
mod export;
mod footage;
mod growing;
mod hls;
mod iframes;

use crate::resources::app::App;
use crate::resources::ports::Backend;
use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(paths(
    hls::playlist,
    hls::init,
    hls::segment,
    hls::gap,
    growing::playlist,
    growing::cell,
    iframes::main,
    iframes::playlist,
    iframes::picture,
    export::download,
    export::file
))]
pub(crate) struct Paths;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route(
            "/api/v1/cameras/{id}/hls/index.m3u8",
            get(hls::playlist::<B>),
        )
        .route("/api/v1/cameras/{id}/hls/init.mp4", get(hls::init::<B>))
        .route(
            "/api/v1/cameras/{id}/hls/segment.m4s",
            get(hls::segment::<B>),
        )
        .route("/api/v1/cameras/{id}/hls/gap.m4s", get(hls::gap))
        .route(
            "/api/v1/cameras/{id}/hls/growing.m3u8",
            get(growing::playlist::<B>),
        )
        .route("/api/v1/cameras/{id}/hls/cell.m4s", get(growing::cell::<B>))
        .route(
            "/api/v1/cameras/{id}/hls/main.m3u8",
            get(iframes::main::<B>),
        )
        .route(
            "/api/v1/cameras/{id}/hls/pictures.m3u8",
            get(iframes::playlist::<B>),
        )
        .route(
            "/api/v1/cameras/{id}/hls/picture.m4s",
            get(iframes::picture::<B>),
        )
        .route(
            "/api/v1/cameras/{id}/export.mp4",
            get(export::download::<B>),
        )
        .route("/api/v1/exports/{id}/{file}", get(export::file::<B>))
}
