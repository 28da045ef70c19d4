#!/usr/bin/python3
"""IP cameras on GStreamer's RTSP server: a peer that nobody here wrote.

Access units of an elementary stream are held in memory and pushed in real time; looping keeps time monotonic.
Prints `ready PORT` once it listens on 127.0.0.1, then obeys one command a line on standard input:
  freeze N | resume N | drop N FRAMES | jump N MILLISECONDS | kick N | connections
where N is the camera's number; the last answers `connections COUNT`, all that clients have opened so far. Ends at end of input. Mounts: /cam1 .. /camCOUNT.

Debian: python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gst-plugins-base-1.0
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
"""
import argparse
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402,F401

ADTS_RATES = [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000]

JUMP_MS_MAX = 100_000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True, help="Annex B file with access unit delimiters, *.h264 or *.h265")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--audio", help="ADTS (*.aac), A-law (*.al) or mu-law (*.ul) file")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--basic", action="store_true", help="basic instead of digest authentication")
    return parser.parse_args()


def access_units(path):
    """The file cut in front of each access unit delimiter."""
    data = open(path, "rb").read()
    h265 = path.endswith((".265", ".h265"))
    starts, at = [], data.find(b"\0\0\1")
    while at >= 0:
        kind = (data[at + 3] >> 1) & 0x3F if h265 else data[at + 3] & 0x1F
        if kind == (35 if h265 else 9):
            starts.append(at - 1 if at and data[at - 1] == 0 else at)
        at = data.find(b"\0\0\1", at + 3)
    if not starts:
        sys.exit(f"{path}: no access unit delimiters; add them with ffmpeg -c copy -bsf:v h264_metadata=aud=insert")
    return [data[a:b] for a, b in zip(starts, starts[1:] + [len(data)])]


def audio_units(path):
    """(payloader description, units, seconds per unit)"""
    data = open(path, "rb").read()
    if path.endswith(".aac"):
        rate, units, at = ADTS_RATES[(data[2] >> 2) & 15], [], 0
        while at + 7 <= len(data):
            size = ((data[at + 3] & 3) << 11) | (data[at + 4] << 3) | (data[at + 5] >> 5)
            units.append(data[at : at + size])
            at += size
        caps = f"audio/mpeg,mpegversion=4,stream-format=adts,rate={rate},channels=1"
        return f"caps={caps} ! aacparse ! rtpmp4gpay", units, 1024 / rate
    law = "alaw" if path.endswith(".al") else "mulaw"
    pay = "rtppcmapay" if law == "alaw" else "rtppcmupay"
    units = [data[a : a + 160] for a in range(0, len(data) - 159, 160)]
    return f"caps=audio/x-{law},rate=8000,channels=1 ! {pay}", units, 0.02


def send_at_once(element):
    """Packets leave when they are pushed, whatever their time stamps say: else a jump ahead would only hold them back."""
    if element.find_property("sync") and element.find_property("async"):
        # The server sets it again later.
        element.connect("notify::sync", lambda *_: element.get_property("sync") and element.set_property("sync", False))
        element.set_property("sync", False)


class Camera:
    def __init__(self, number):
        self.number, self.frozen, self.drop = number, False, 0
        # Time stamps cannot be negative: from here they may jump back, too.
        self.jump_ms = JUMP_MS_MAX


class Track:
    """Pushes one elementary stream into an appsrc in real time."""

    def __init__(self, camera, source, units, seconds, is_video):
        self.camera, self.source, self.units, self.seconds = camera, source, units, seconds
        self.is_video, self.next, self.base, self.ended = is_video, 0, None, False
        self.started = time.monotonic()

    def push_due(self):
        while not self.ended and self.started + self.next * self.seconds <= time.monotonic():
            if not self.push():
                return

    def push(self):
        camera = self.camera
        if self.base is None:
            # Before PLAYING there is no running time to stamp with.
            if self.source.get_state(0)[1] != Gst.State.PLAYING:
                self.started = time.monotonic() - self.next * self.seconds
                return False
            self.base = self.source.get_current_running_time() - int(self.next * self.seconds * 1e9)
        index, self.next = self.next, self.next + 1
        if camera.frozen:
            return True
        if self.is_video and camera.drop:
            camera.drop -= 1
            return True
        buffer = self.units[index % len(self.units)].copy_region(Gst.BufferCopyFlags.MEMORY, 0, (1 << 64) - 1)
        buffer.pts = buffer.dts = self.base + int(index * self.seconds * 1e9) + camera.jump_ms * 1_000_000
        buffer.duration = int(self.seconds * 1e9)
        return self.source.emit("push-buffer", buffer) == Gst.FlowReturn.OK


class Cameras:
    def __init__(self, options):
        self.options, self.lock, self.tracks = options, threading.Lock(), []
        self.video = [Gst.Buffer.new_wrapped(unit) for unit in access_units(options.video)]
        self.audio = audio_units(options.audio) if options.audio else None
        if self.audio:
            self.audio = (self.audio[0], [Gst.Buffer.new_wrapped(unit) for unit in self.audio[1]], self.audio[2])
        self.connections = 0
        self.cameras = {number: Camera(number) for number in range(1, options.count + 1)}
        self.server = self.serve()

    def serve(self):
        server = GstRtspServer.RTSPServer()
        server.set_address("127.0.0.1")
        server.set_service("0")
        server.connect("client-connected", lambda *_: setattr(self, "connections", self.connections + 1))
        if self.options.user:
            server.set_auth(self.auth())
        for camera in self.cameras.values():
            server.get_mount_points().add_factory(f"/cam{camera.number}", self.factory(camera))
        if not server.attach(None):
            sys.exit("cannot listen on 127.0.0.1")
        return server

    def auth(self):
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        if self.options.basic:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(self.options.user, self.options.password), token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(self.options.user, self.options.password, token)
        return auth

    def factory(self, camera):
        codec = "h265" if self.options.video.endswith((".265", ".h265")) else "h264"
        launch = (
            f"appsrc name=video is-live=true format=time max-bytes=0 block=false "
            f"caps=video/x-{codec},stream-format=byte-stream,alignment=au ! {codec}parse "
            f"! rtp{codec}pay name=pay0 pt=96 config-interval=-1"
        )
        if self.audio:
            launch += f" appsrc name=audio is-live=true format=time {self.audio[0]} name=pay1 pt=97"
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        factory.set_latency(0)
        factory.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)
        factory.set_launch(f"( {launch} )")
        factory.connect("media-configure", lambda _factory, media: self.configure(camera, media))
        if self.options.user:
            permissions = GstRtspServer.RTSPPermissions()
            for permission in ("media.factory.access", "media.factory.construct"):
                permissions.add_permission_for_role("user", permission, True)
            factory.set_permissions(permissions)
        return factory

    def configure(self, camera, media):
        element = media.get_element()
        element.get_parent().connect("deep-element-added", lambda _bin, _parent, added: send_at_once(added))
        self.add(media, Track(camera, element.get_by_name("video"), self.video, 1 / self.options.fps, True))
        if self.audio:
            self.add(media, Track(camera, element.get_by_name("audio"), self.audio[1], self.audio[2], False))

    def add(self, media, track):
        with self.lock:
            self.tracks.append(track)
        media.connect("unprepared", lambda *_: setattr(track, "ended", True))

    def push_forever(self):
        while True:
            with self.lock:
                self.tracks = [track for track in self.tracks if not track.ended]
                live = list(self.tracks)
            for track in live:
                track.push_due()
            time.sleep(0.004)

    def kick(self, camera):
        """Closes every connection that plays this camera."""

        def close(_server, client):
            plays = []
            client.session_filter(
                lambda _client, session: session.filter(
                    lambda _session, media: plays.append(media.matches(f"/cam{camera.number}")[0])
                    or GstRtspServer.RTSPFilterResult.KEEP
                )
                and GstRtspServer.RTSPFilterResult.KEEP
                or GstRtspServer.RTSPFilterResult.KEEP
            )
            if any(plays):
                client.close()
            return GstRtspServer.RTSPFilterResult.KEEP

        self.server.client_filter(close)

    def obey(self, line):
        if line.strip() == "connections":
            print(f"connections {self.connections}", flush=True)
            return
        verb, number, *rest = line.split()
        camera = self.cameras[int(number)]
        if verb == "freeze":
            camera.frozen = True
        elif verb == "resume":
            camera.frozen = False
        elif verb == "drop":
            camera.drop = int(rest[0])
        elif verb == "jump":
            camera.jump_ms = max(0, camera.jump_ms + int(rest[0]))
        elif verb == "kick":
            GLib.idle_add(lambda: self.kick(camera) and False)
        else:
            sys.exit(f"unknown command: {line}")


def main():
    Gst.init(None)
    cameras = Cameras(arguments())
    threading.Thread(target=cameras.push_forever, daemon=True).start()
    loop = GLib.MainLoop()

    def obey():
        for line in sys.stdin:
            cameras.obey(line)
        loop.quit()

    threading.Thread(target=obey, daemon=True).start()
    print(f"ready {cameras.server.get_bound_port()}", flush=True)
    loop.run()


main()
