//! What happens when GStreamer's cameras freeze, drop frames, jump in time or hang up: the gap is known, recording goes on, others can play it.
