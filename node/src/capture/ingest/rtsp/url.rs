//! The addresses of a camera: of its tracks, and of its redirects. Pure.

use url::Url;

/// RFC 2326, 3.2, and RFC 7826, 4.2 for `rtsps`.
const PORT: u16 = 554;
const TLS_PORT: u16 = 322;

pub(crate) fn is_tls(url: &Url) -> bool {
    url.scheme() == "rtsps"
}

/// Host, without the brackets of IPv6, and port.
pub(crate) fn host_and_port(url: &Url) -> (String, u16) {
    let host = url.host_str().unwrap_or_default();
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    (
        host.to_owned(),
        url.port()
            .unwrap_or(if is_tls(url) { TLS_PORT } else { PORT }),
    )
}

/// Where a camera redirects to.
///
/// # Errors
/// The target is another host, or unencrypted though the connection was encrypted. `None`: it is no
/// address.
pub(crate) fn redirected(from: &Url, location: &str) -> Result<Url, Option<Url>> {
    let to = from.join(location.trim()).map_err(|_| None)?;
    let mut shown = to.clone();
    // Neither fails on a URL with a host.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    let is_known = matches!(to.scheme(), "rtsp" | "rtsps") && to.has_host();
    if !is_known {
        return Err(None);
    }
    let is_worse = is_tls(from) && !is_tls(&to);
    if to.host_str() != from.host_str() || is_worse {
        Err(Some(shown))
    } else {
        Ok(shown)
    }
}

/// The URL to name in requests of something whose `a=control` is `control` (RFC 2326, C.1.1). Not
/// every camera has it by the letter, so it is put together as ffmpeg does: absolute as it is, else
/// behind the base and a slash.
pub(crate) fn controlled(base: &str, control: Option<&str>) -> String {
    let control = control.map(str::trim).unwrap_or_default();
    if control.is_empty() || control == "*" {
        return base.to_owned();
    }
    if control
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("rtsp://"))
        || control
            .get(..8)
            .is_some_and(|start| start.eq_ignore_ascii_case("rtsps://"))
    {
        return control.to_owned();
    }
    match base.ends_with('/') || control.starts_with('/') {
        true => format!(
            "{}/{}",
            base.trim_end_matches('/'),
            control.trim_start_matches('/')
        ),
        false => format!("{base}/{control}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn hosts_and_ports() {
        let of = |text| host_and_port(&url(text));
        assert_eq!(of("rtsp://cam/1"), ("cam".to_owned(), 554));
        assert_eq!(of("rtsps://cam/1"), ("cam".to_owned(), 322));
        assert_eq!(of("rtsp://[::1]:8554/1"), ("::1".to_owned(), 8554));
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_host_only() {
        let from = url("rtsp://cam/1");
        assert_eq!(
            redirected(&from, "rtsp://cam:8554/2"),
            Ok(url("rtsp://cam:8554/2"))
        );
        assert_eq!(redirected(&from, "rtsps://cam/2"), Ok(url("rtsps://cam/2")));
        assert_eq!(redirected(&from, "/2"), Ok(url("rtsp://cam/2")));
        assert_eq!(
            redirected(&from, "rtsp://u:p@other/2"),
            Err(Some(url("rtsp://other/2")))
        );
        assert_eq!(
            redirected(&url("rtsps://cam/1"), "rtsp://cam/1"),
            Err(Some(from.clone()))
        );
        assert_eq!(redirected(&from, "http://cam/1"), Err(None));
    }

    #[test]
    fn tracks_are_behind_their_base() {
        let of = |base, control| controlled(base, Some(control));
        assert_eq!(of("rtsp://cam/1", "track1"), "rtsp://cam/1/track1");
        assert_eq!(of("rtsp://cam/1/", "/track1"), "rtsp://cam/1/track1");
        assert_eq!(of("rtsp://cam/1?a=b", "track1"), "rtsp://cam/1?a=b/track1");
        assert_eq!(
            of("rtsp://cam/1", "RTSP://other/track1"),
            "RTSP://other/track1"
        );
        assert_eq!(of("rtsp://cam/1", "*"), "rtsp://cam/1");
        assert_eq!(controlled("rtsp://cam/1", None), "rtsp://cam/1");
    }
}
