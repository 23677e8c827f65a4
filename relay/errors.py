"""Errors of the relay's pure parts; importing them costs nothing."""


class FrameError(ValueError):
    """Bytes that are not frames of the stream, or spans of other bytes."""
