"""Tradeplane: wires the apps together; nothing imports it but entry points."""

from tradeplane.celery import app as celery_app

__all__ = ["celery_app"]
