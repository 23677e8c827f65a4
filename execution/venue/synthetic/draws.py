"""Random draws inside compiled code: one 64-bit state per stream, the same everywhere.

A stream is an array of one uint64 (splitmix64); `mix` makes the seed of a stream from what names
it, so that any part of the day can be made without what came before.
Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
"""
# numba infers the types and mypy cannot see through its decorator:
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

import numpy as np
from numba import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11, _S16 = (np.uint64(n) for n in (30, 27, 31, 11, 16))
_LOW16 = np.uint64(0xFFFF)
_IRWIN_HALL_MEAN = 4 * 32767.5
_IRWIN_HALL_SD = 65536.0 / np.sqrt(3.0)


@njit(cache=True, nogil=True, inline="always")
def scramble(word):
    """Return a uint64 whose every bit depends on every bit of `word`."""
    word = (word ^ (word >> _S30)) * _M1
    word = (word ^ (word >> _S27)) * _M2
    return word ^ (word >> _S31)


@njit(cache=True, nogil=True)
def mix(seed, purpose, index):
    """Return the start of the stream named by three integers, as uint64."""
    word = scramble(np.uint64(seed) + _GOLDEN)
    word = scramble(word ^ (np.uint64(purpose) + _GOLDEN))
    return scramble(word ^ (np.uint64(index) + _GOLDEN))


@njit(cache=True, nogil=True, inline="always")
def bits(stream):
    """Return the next 64 random bits."""
    stream[0] = stream[0] + _GOLDEN
    return scramble(stream[0])


@njit(cache=True, nogil=True, inline="always")
def uniform(stream):
    """Return a float in [0, 1)."""
    return np.float64(bits(stream) >> _S11) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True, inline="always")
def normal(stream):
    """Return a nearly normal float: the sum of four uniforms, without tails beyond 3.5."""
    word = bits(stream)
    total = (word & _LOW16) + ((word >> _S16) & _LOW16)
    word = word >> np.uint64(32)
    total = total + (word & _LOW16) + ((word >> _S16) & _LOW16)
    return (np.float64(total) - _IRWIN_HALL_MEAN) / _IRWIN_HALL_SD


@njit(cache=True, nogil=True, inline="always")
def exponential(stream):
    """Return an exponential float of mean 1."""
    return -np.log(1.0 - uniform(stream))


@njit(cache=True, nogil=True)
def poisson(stream, mean):
    """Return a Poisson count; above a mean of 30 its normal approximation."""
    if mean > 30.0:
        return max(0, int(np.floor(mean + np.sqrt(mean) * normal(stream) + 0.5)))
    limit, product, count = np.exp(-mean), uniform(stream), 0
    while product > limit:
        product *= uniform(stream)
        count += 1
    return count


@njit(cache=True, nogil=True)
def geometric(stream, mean):
    """Return a geometric count of 1 and more with the given mean."""
    if mean <= 1.0:
        return 1
    draw = np.log(1.0 - uniform(stream)) / np.log(1.0 - 1.0 / mean)
    return 1 + min(int(draw), 2000)
