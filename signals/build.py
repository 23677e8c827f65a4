"""Which program this is: its version and a hash of its sources, the same with and without git."""

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

#: What stands beside this package, in a checkout as in an installed copy.
PACKAGES = ("accounts", "execution", "relay", "shards", "signals", "tradeplane")
HASH_LENGTH = 12


@cache
def build() -> str:
    """Return e.g. "0.1.0+3f2a9c0b1d4e"; read once, so it is that of the program that runs."""
    try:
        version = metadata.version("tradeplane")
    except metadata.PackageNotFoundError:  # a checkout
        version = "dev"
    return f"{version}+{hash_of(Path(__file__).parents[1])[:HASH_LENGTH]}"


def hash_of(root: Path) -> str:
    """Return the SHA-256 over names and bytes of the packages' modules below a folder."""
    whole = hashlib.sha256()
    for path in sorted(one for name in PACKAGES for one in (root / name).rglob("*.py")):
        body = path.read_bytes()
        whole.update(f"{path.relative_to(root).as_posix()} {len(body)}\n".encode())
        whole.update(body)
    return whole.hexdigest()
