"""The whole order path in one process: virtual clock, seeded faults, an outside checker.

The hub, its services, the journal and the books are the real ones; the venue is the paper venue's
engine behind `brokers.memory`. What is not here: sockets, shards, Redis.
"""
