"""The paper venue: Alpaca's protocols on loopback, over a tape.

`engine.py` and what it imports are pure (time is an argument); `player.py`, `server.py` and the
connections around it own sockets and clocks.
"""
