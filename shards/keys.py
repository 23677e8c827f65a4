"""Names in Redis that the hub and the shards share. Light: no kernels behind it."""


def grants_key(run: str) -> str:
    """Return the key of the set of assignment numbers that count; the hub writes it."""
    return f"grants:{run}"


def load_key(run: str) -> str:
    """Return the key of the hash with each cell's prints so far; the shards write it."""
    return f"load:{run}"
