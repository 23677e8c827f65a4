"""Run a command that ends when its parent does: `python -I -S tether.py PARENT_PID COMMAND…`.

A supervisor killed with -9 cannot tell its children; the kernel can (PR_SET_PDEATHSIG survives
exec). Doing it here and not in `preexec_fn` keeps Python out of a forked, multi-threaded process.
The signal belongs to the parent's *thread*, so `up` starts children from its main thread only.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)  # the parent went before we were tied to it
    os.execvp(command[0], command)  # noqa: S606 - our own command, never a shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
