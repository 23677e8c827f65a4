"""The Celery application: entries, reports and assignments travel here; money does not depend on it.

Settings follow what was measured (docs/decisions/celery.md): late acknowledgement because every
task is idempotent, no results, no publish retry on the order path, solo pools.
"""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradeplane.settings")

app = Celery("tradeplane")
app.config_from_object("tradeplane.celery_settings")
app.autodiscover_tasks(["shards", "execution"])
