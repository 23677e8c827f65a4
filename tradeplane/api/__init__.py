"""The REST interface: other programs read what the pages show, and turn the same two switches."""
