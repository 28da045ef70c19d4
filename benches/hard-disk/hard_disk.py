"""A hard disk for nbdkit: a file behind one head that takes its time to move.

    nbdkit -U SOCKET python hard_disk.py file=FILE seek_ms=8 mb_per_s=150

A request that begins where the last one ended costs its bytes at the disk's rate; any other one costs a seek (with half a turn) first. Requests are carried
out one after the other, and are on the platter when they are answered: there is no cache to flush. `sync_file_range` and the like of the file are not the
disk's business, so nothing else costs time.
"""

import os
import time

API_VERSION = 2

settings = {"file": None, "seek_ms": "8", "mb_per_s": "150"}
# Where the head stands, for all connections.
head = 0
# Until when the disk is busy: being late with one request is made up for with the next.
busy_until = 0.0


def config(key, value):
    if key not in settings:
        raise RuntimeError(f"unknown setting {key}; there are: {', '.join(settings)}")
    settings[key] = value


def config_complete():
    if settings["file"] is None:
        raise RuntimeError("file=FILE is missing")
    settings["seek"] = float(settings["seek_ms"]) / 1000
    settings["rate"] = float(settings["mb_per_s"]) * 1e6


def thread_model():
    import nbdkit

    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(readonly):
    return os.open(settings["file"], os.O_RDONLY if readonly else os.O_RDWR)


def close(handle):
    os.close(handle)


def get_size(handle):
    return os.fstat(handle).st_size


def can_flush(handle):
    return True


def can_fua(handle):
    import nbdkit

    return nbdkit.FUA_NATIVE


def can_multi_conn(handle):
    return True


def pread(handle, buffer, offset, flags):
    move(offset, len(buffer))
    os.preadv(handle, [buffer], offset)


def pwrite(handle, buffer, offset, flags):
    move(offset, len(buffer))
    os.pwritev(handle, [buffer], offset)


def flush(handle, flags):
    pass


def move(offset, length):
    """Waits as long as the disk needs for `length` bytes at `offset`."""
    global head, busy_until
    costs = length / settings["rate"] + (0 if offset == head else settings["seek"])
    head = offset + length
    busy_until = max(busy_until, time.monotonic()) + costs
    time.sleep(max(0, busy_until - time.monotonic()))
