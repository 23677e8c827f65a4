"""The Celery application: reports, assignments and entries travel here; money does not rest on it.

Settings follow what was measured (docs/decisions/celery.md): late acknowledgement because every
task is idempotent, no results, no publish retry on the order path, solo pools.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeplane.settings")

app = Celery("tradeplane")
app.config_from_object("tradeplane.celery_settings")
#: No autodiscovery: each worker imports the tasks of its own role (tradeplane/runtime/worker.py),
#: so that a shard does not carry the broker's SDK nor a hub the kernels.
