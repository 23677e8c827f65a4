"""Shards: letters, buckets, the engine and its resident."""


def warm() -> None:
    """Compile or load every kernel that a shard needs; a few seconds the first time."""
    from relay import frames  # noqa: PLC0415 - numba must not load with the app registry
    from shards import conditions, decoding, detector, kernels, packing  # noqa: PLC0415

    frames.warm()
    kernels.warm()
    conditions.warm()
    decoding.warm()
    detector.warm()
    packing.warm()
