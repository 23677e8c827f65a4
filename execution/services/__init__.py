"""Writes of this app: each a short transaction, two around a network call; no clock of its own."""
