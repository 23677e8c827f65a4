"""What people decide about shards: who takes part, and by which plan letters are given out.

Rows only; the hub acts on them within a second or so, and says in the log what it did.
"""

from execution import selectors
from execution.models import ShardChange
from execution.services import activity
from shards.split import check_plan

SHARDS_MAX = 26
PLAN_MAX = 400


def drain_shard(*, shard: int, actor: str) -> bool:
    """Take a shard out: others take its letters over. False when it was out already.

    Raises:
        ValueError: no such number.
    """
    return _place(shard, "drain", actor)


def enroll_shard(*, shard: int, actor: str) -> bool:
    """Let a shard take part (again): it gets its share. False when it did already.

    Raises:
        ValueError: no such number.
    """
    return _place(shard, "enroll", actor)


def set_plan(*, plan: str, actor: str) -> ShardChange:
    """Give the letters out anew: `letters`, `load`, or a map such as `A-C | [D,DK) | [DK,E) E-Z`.

    Raises:
        ValueError: neither a word nor a map in which every symbol has exactly one owner.
    """
    plan = " ".join(plan.split())
    if len(plan) > PLAN_MAX:
        raise ValueError(f"a map of more than {PLAN_MAX} characters")
    check_plan(plan)
    made = ShardChange.objects.create(action="plan", plan=plan, actor=actor[:150])
    _note(f"{actor} gives the letters out anew, by {plan}", actor)
    return made


def _place(shard: int, action: str, actor: str) -> bool:
    if not 1 <= shard <= SHARDS_MAX:
        raise ValueError(f"shards are numbered 1 to {SHARDS_MAX}, not {shard}")
    if (shard in selectors.drained_shards()) == (action == "drain"):
        return False
    ShardChange.objects.create(action=action, shard=shard, actor=actor[:150])
    word = {"drain": "takes shard {} out", "enroll": "lets shard {} take part"}[action]
    _note(f"{actor} {word.format(shard)}", actor)
    return True


def _note(text: str, actor: str) -> None:
    run = selectors.current_run()
    if run is not None:
        activity.note(run.pk, "shard", text, market_ns=run.market_ns, actor=actor)
