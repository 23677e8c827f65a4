"""How kernels are compiled: nogil, cached, and without counting who holds their arrays.

numba counts by an atomic instruction wherever an array is handed to a function, inlined or not:
three quarters of what decoding a frame cost went into that. A kernel that only works on arrays of
its caller needs no counts. It can make none of its own: numba refuses to compile it then.
"""

from typing import Any

from numba import njit

_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}

kernel = njit(cache=True, **_OPTIONS)
#: Division by zero gives infinity or NaN.
numpy_kernel = njit(cache=True, error_model="numpy", **_OPTIONS)
inlined = njit(inline="always", **_OPTIONS)
