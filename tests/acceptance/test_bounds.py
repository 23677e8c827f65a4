"""The kernels read and write inside their arrays: their tests once more, compiled with checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ("engine", "restart", "decoding", "closing", "history", "conditions")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    """Without checks such an access is silent, until something else is wrong."""
    own = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    files = [f"tests/unit/test_shards_{name}.py" for name in TESTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
        cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-3000:]
    assert any(tmp_path.rglob("*.nbi")), "compiled anew"
