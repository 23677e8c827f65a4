"""The hub's coordinator in small parts: links post events, one thread decides what they mean."""
