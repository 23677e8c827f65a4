"""The bench in its own home: every part gives figures, `--json` prints them as one object."""

import json
import sys
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402

from tradeplane.bench.hub import orders, planted, rounds, run  # noqa: E402 - they need Django
from tradeplane.bench.hub.options import told  # noqa: E402
from tradeplane.bench.relay.__main__ import machine  # noqa: E402

#: What each figure is; the first that fits counts, a name that ends in `*` fits what begins so.
MEANING = {
    "run_late_rounds": "rounds of it decided after decision_deadline_ms",
    "run_decided_ms_p99": "end of a bucket to its decision stored, market clock, last 200 rounds",
    "run_collect_ms_p99": "end of the grace to the last report of a round, market clock",
    "run_memory_growth_percent": "all roles together (PSS) at the end against minute 3",
    "run_*_mb_minute_3": "PSS of a role three minutes after the market went live",
    "run_planted_found_share": "planted accelerations that became candidates",
    "run_false_per_hour": "candidates in names without one, per hour: the market's own moves too",
    "run_first_candidate_s": "from the first paced second to the first candidate",
    "run_*": "of a whole made-up market at real-time speed through `up`",
    "report_to_order_*": "hub takes a round's last report, to the venue's answer to the order",
    "orders_sent": "entries in it: real shards, Redis, hub, SDK, venue; a small market at speed 4",
    "planted_found_share": "as in the run, with many planted, in one process",
    "round_ms_*": "last of 26 reports comes, to the decision of all candidates committed",
    "round_cpu_ms_*": "the same in processor time of the hub's process; its second has its own",
    "round_with_intake_ms_*": "the same, with the unpacking of all 26 reports",
    "row_by_row_ms_*": "the same round in a loop that queries and saves for each candidate",
    "vs_row_by_row": "that loop's time over ours",
}


def main() -> None:
    options = told(sys.argv[1:])
    call_command("migrate", interactive=False, verbosity=0)
    figures: dict[str, float] = {}
    ratios: dict[str, float] = {}
    if "run" in options.parts:
        figures |= run.figures(options)
    if "orders" in options.parts:
        figures |= orders.figures(options)
    if "planted" in options.parts:
        figures |= planted.figures(options)
    if "round" in options.parts:
        found = rounds.figures(options)
        ratios["vs_row_by_row"] = found.pop("vs_row_by_row")
        figures |= found
    _print({"bench": "hub", "figures": figures, "ratios": ratios, "machine": machine()},
           as_json=options.as_json)  # fmt: skip


def _print(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for part in ("figures", "ratios", "machine"):
        for name, value in result[part].items():
            shown = f"{value:,}" if isinstance(value, int | float) else value
            sys.stdout.write(f"{name:42} {shown:>12}  {_meaning(name)}\n".rstrip() + "\n")


def _meaning(name: str) -> str:
    for pattern, text in MEANING.items():
        head, star, tail = pattern.partition("*")
        if name == pattern or (star and name.startswith(head) and name.endswith(tail)):
            return text
    return ""


if __name__ == "__main__":
    main()
