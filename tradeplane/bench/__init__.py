"""Benchmarks: `script/bench NAME`. Each sets its subject beside named rivals, in the same run."""
