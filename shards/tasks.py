"""What the hub asks of a shard. Each task hands over to the resident engine and returns at once.

All are safe to run twice or late: the engine compares numbers and versions, and answers with
`ShardReady` or `Ack` through `signals.report`.
"""
# mypy: allow-untyped-decorators

from typing import Any

from celery import shared_task

from shards import mailbox


@shared_task(name="shards.assign", ignore_result=True)
def assign(assignment: dict[str, Any]) -> None:
    """Take these letters of this run; the same assignment again only asks for the answer."""
    mailbox.deliver("assign", assignment)


@shared_task(name="shards.drop", ignore_result=True)
def drop(run: str, as_of: int, keep: list[int]) -> None:
    """Let go of every assignment of this run that is not named."""
    mailbox.deliver("drop", {"run": run, "as_of": as_of, "keep": keep})


@shared_task(name="shards.watch", ignore_result=True)
def watch(position: dict[str, Any]) -> None:
    """Watch an active trade for its stop and target."""
    mailbox.deliver("watch", position)


@shared_task(name="shards.release", ignore_result=True)
def release(position_id: str, version: int) -> None:
    """Watch a trade no longer."""
    mailbox.deliver("release", {"position_id": position_id, "version": version})


@shared_task(name="shards.parameters", ignore_result=True)
def parameters(version: int, values: dict[str, Any], active_from_k: int) -> None:
    """Hold this parameter set and use it from bucket `active_from_k` on."""
    mailbox.deliver(
        "parameters", {"version": version, "values": values, "active_from_k": active_from_k}
    )


@shared_task(name="shards.resync", ignore_result=True)
def resync(run: str, symbols: list[str]) -> None:
    """Begin the windows of these symbols anew: the hub has seen a gap in them."""
    mailbox.deliver("resync", {"run": run, "symbols": symbols})


@shared_task(name="shards.resend", ignore_result=True)
def resend(run: str, from_k: int, stop: int | None) -> None:
    """Send the kept reports from bucket `from_k` on again, and the answer to the stop."""
    mailbox.deliver("resend", {"run": run, "from_k": from_k, "stop": stop})
