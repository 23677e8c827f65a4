"""`script/bench shards`: raw frames → closed buckets and oscillator, beside three known libraries.

All on one core each, in CPU seconds of the process that works; the rivals have an environment of
their own (requirements-bench.txt), so that what they need never meets what we need.
"""
