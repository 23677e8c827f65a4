"""`script/bench relay`: upstream → relay → 26 connections, beside a re-encoding relay and the SDK.

Processes: the feed (the upstream), the relay as `manage.py relay`, at most two that count. What a
child may be told, one JSON object per line, stands at its top; each answers with one line.
"""
