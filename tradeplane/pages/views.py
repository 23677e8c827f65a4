"""The pages, rendered whole on the server: they tell everything without scripts, scripts keep
them new."""

import json
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Max
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from execution import selectors
from execution.models import Decision, Round, Run
from execution.services import activity, adoption, release
from signals import selectors as parameter_selectors
from signals.parameters.catalogue import ParameterError, defaults
from signals.session import BUCKET_NS
from tradeplane.pages import (
    access,
    board,
    decisions,
    figures,
    flips,
    letters,
    log,
    safety,
    whynot,
    words,
)
from tradeplane.pages.asked import whole_number
from tradeplane.pages.buckets import Buckets
from tradeplane.pages.feed import shared_reader
from tradeplane.pages.shell import page

RECORD_ROWS = 24
CHART_BUCKETS = {"3": 36, "9": 108, "30": 360}
LOG_ROWS = 100
LEVELS = {"warnings": ("warning",), "errors": ("alarm", "error")}


@never_cache
@login_required
@require_GET
def live(request: HttpRequest) -> HttpResponse:
    """Candidates, position, round, shards, log: the day as it goes."""
    values = shared_reader().look()[0]
    rows = values["candidates"]["rows"]
    first = next((row["id"] for row in rows if row["out"].key != "fired"), None)
    decision = Decision.objects.filter(pk=first).first() if first else None
    why = None if decision is None else decisions.told(decision, set_of(decision))
    return page(request, "live.html", "live", {"why": why})


@never_cache
@login_required
@require_GET
def why(request: HttpRequest, decision_id: int) -> HttpResponse:
    """The card “Why not …?” of one decision, as a part of the live page."""
    decision = get_object_or_404(Decision.objects.select_related("run"), pk=decision_id)
    return render(request, "parts/why.html", {"why": decisions.told(decision, set_of(decision))})


@never_cache
@login_required
@require_GET
def system(request: HttpRequest) -> HttpResponse:
    run, (_, plan) = selectors.current_run(), selectors.shard_plan()
    shards = shared_reader().look()[0]["shards"]
    living = sum(bool(one["ok"]) and not one["drained"] for one in shards)
    return page(
        request,
        "system.html",
        "system",
        {
            "plan": letters.plan(run, plan, living),
            "safety": safety.lines(),
            "differs": None if run is None else adoption.standing(run),
            "set_aside": [] if run is None else release.set_aside(run),
        },
    )


@never_cache
@login_required
@require_GET
def help_page(request: HttpRequest) -> HttpResponse:
    """Every word of the pages, every gate, the keys; a tooltip cannot be reached by touch."""
    context = {
        "words": words.WORDS,
        "gates": words.gates(),
        "findings": words.FINDINGS,
        "gate_count": len(words.ASKED),
    }
    return page(request, "help.html", "help", context)


@never_cache
@login_required
@require_GET
def decision(request: HttpRequest, decision_id: int) -> HttpResponse:
    """One decision in full; the address stays good."""
    found = get_object_or_404(Decision.objects.select_related("run"), pk=decision_id)
    return _symbol_page(request, found.run, found.symbol, found)


@never_cache
@login_required
@require_POST
def try_decision(request: HttpRequest, decision_id: int) -> HttpResponse:
    """The decision again, with what was asked of it: other parameters, or how others ended.

    Looking at results is a trial and is counted; so it is asked for, and never comes by itself.
    """
    found = get_object_or_404(Decision.objects.select_related("run"), pk=decision_id)
    text = request.POST.get("with", "").strip()[:200]
    tried = flips.tried(found, text, set_of(found), actor=str(request.user)) if text else None
    judge = str(request.user) if "others" in request.POST else ""
    return _symbol_page(request, found.run, found.symbol, found, tried=tried, judge=judge)


@never_cache
@login_required
@require_GET
def fired(request: HttpRequest, trade_id: int) -> HttpResponse:
    """To the decision that opened a trade."""
    run = selectors.current_run()
    trade = run and run.trades.filter(pk=trade_id).first()
    found = trade and decisions.decision_of_trade(trade.run, trade.symbol, trade.k)
    if not found:
        raise Http404("this trade has no decision")
    return redirect("decision", decision_id=found.pk)


@never_cache
@login_required
@require_GET
def symbol(request: HttpRequest, name: str = "") -> HttpResponse:
    """The newest decisions about a stock; without a name, of the strongest candidate.

    `?at=10:30:05` asks for those five seconds, also when it was no candidate then.
    """
    run = selectors.current_run()
    wanted = _printable((name or request.GET.get("s", "")).strip().upper()[:16])
    if run is None:
        return page(request, "symbol.html", "symbol", {"symbol": wanted, "run": None})
    if not wanted:
        wanted = _strongest(run)
    if request.GET.get("s"):
        return redirect("symbol", name=wanted)
    if at := request.GET.get("at", "").strip():
        return _at_a_time(request, run, wanted, at)
    newest = next(iter(selectors.decisions_about(run, wanted, 1)), None)
    if newest is None and wanted:
        k = Round.objects.filter(run=run).aggregate(newest=Max("k"))["newest"]
        asked = None if k is None else whynot.why_not(run, wanted, k)
        if asked is not None and asked.state == "gone" and wanted not in run.universe:
            asked = None  # nobody has ever heard of it
        return _symbol_page(request, run, wanted, None, asked)
    return _symbol_page(request, run, wanted, newest)


def _printable(name: str) -> str:
    """Raises: Http404: no stock is called that."""
    if not name.isprintable():
        raise Http404("there is no such stock")
    return name


def _at_a_time(request: HttpRequest, run: Run, name: str, at: str) -> HttpResponse:
    k = whynot.bucket_at(run, at)
    if k is None:
        messages.error(request, f"{at[:20]} is no time: write 10:30:05, New York.")
        return redirect("symbol", name=name)
    answer = whynot.why_not(run, name, k)
    if answer.decision_id is not None:
        return redirect("decision", decision_id=answer.decision_id)
    return _symbol_page(request, run, name, None, answer)


def _strongest(run: Run) -> str:
    rows = shared_reader().look()[0]["candidates"]["rows"]
    if rows:
        return str(rows[0]["symbol"])
    latest = selectors.latest_decisions(run, 1)
    return latest[0].symbol if latest else ""


def _symbol_page(
    request: HttpRequest,
    run: Run,
    name: str,
    found: Decision | None,
    asked: whynot.WhyNot | None = None,
    *,
    tried: dict[str, str] | None = None,
    judge: str = "",
) -> HttpResponse:
    record = selectors.decisions_about(run, name, RECORD_ROWS)
    seen = _seen(run, found)
    p = set_of(found) if found else board.parameters_of(run)
    context = {
        "symbol": name,
        "run": run,
        "told": decisions.told(found, p, judge=judge) if found else None,
        "asked": whynot.told(asked) if asked else None,
        "tried": tried,
        "record": decisions.timeline(run, record),
        "seen": seen,
        "chart": chart(run, name, found, p, CHART_BUCKETS["9"]),
        "orders": [_order(row) for row in decisions.orders_of(run, name)],
        "is_newest": not record or found is None or record[0].pk == found.pk,
    }
    return page(request, "symbol.html", "symbol", context)


def _order(row: Any) -> dict[str, Any]:
    return {
        "at": figures.time_of(row.created_ns),
        "purpose": PURPOSES.get(row.purpose, row.purpose),
        "side": row.side,
        "quantity": f"{row.filled_quantity:,} of {row.quantity:,}",
        "price": figures.price(row.limit if row.limit is not None else row.stop),
        "status": figures.words(row.status),
        "reason": row.reason,
    }


PURPOSES = {"e": "Entry", "tp": "Target", "sl": "Stop", "o": "Protection", "x": "Exit",
            "f": "Flatten"}  # fmt: skip


def _seen(run: Run, found: Decision | None) -> dict[str, str] | None:
    """Price, spread and VWAP as the decision saw them."""
    one = _candidate(run, found)
    if one is None:
        return None
    base = one.session.prev_close or one.session.open
    change = 100 * (one.close / base - 1) if base else None
    quote, wide = one.quote, figures.MISSING
    if quote and quote.bid > 0 and quote.ask > 0:
        wide = f"{20_000 * (quote.ask - quote.bid) / (quote.ask + quote.bid):.0f} bps"
    return {
        "price": figures.price(one.close),
        "change": f"{figures.arrow(change)} {figures.percent(change)} today" if base else "",
        "tone": figures.tone(change),
        "quote": f"{figures.price(quote.bid)} × {figures.price(quote.ask)}" if quote else "none",
        "spread": wide,
        "vwap": figures.price(one.session.vwap),
        "volume": figures.count(one.session.cum_volume),
        "since": figures.clock((one.b + 1) * BUCKET_NS),
    }


def _candidate(run: Run, found: Decision | None) -> selectors.SeenCandidate | None:
    if found is None:
        return None
    row = run.rounds.filter(k=found.k).first()
    seen = selectors.seen_candidates(row) if row else []
    return next((one for one in seen if one.candidate_id == found.candidate_id), None)


@never_cache
@login_required
@require_GET
def chart_data(request: HttpRequest, name: str) -> JsonResponse:
    """The bars of a stock, newest last; `?minutes=3|9|30&decision=id`."""
    run = selectors.current_run()
    asked = request.GET.get("decision", "")
    name = _printable(name)
    found = Decision.objects.filter(pk=whole_number(asked) or 0).first()
    if found is not None:
        run = found.run
    if run is None:
        return JsonResponse({"bars": []})
    n = CHART_BUCKETS.get(request.GET.get("minutes", "9"), CHART_BUCKETS["9"])
    p = set_of(found) if found else board.parameters_of(run)
    return JsonResponse(chart(run, name.upper()[:16], found, p, n))


def chart(run: Run, name: str, found: Decision | None, p: Any, n: int) -> dict[str, Any]:
    """Return bars from the shards' store; when it has forgotten them, those of the decision."""
    last_k = found.k if found else run.market_ns // BUCKET_NS - 1
    kept = Buckets(shared_reader().redis).bars(run.pk, run.day, name, last_k, n)
    bars = [
        {"t": figures.time_of(bar.k * BUCKET_NS), "k": bar.k, "o": bar.open, "h": bar.high,
         "l": bar.low, "c": bar.close, "v": bar.volume, "x": bar.x}
        for bar in kept
    ]  # fmt: skip
    one = _candidate(run, found)
    if one is not None and len(bars) < len(one.window.get("c", [])):
        bars = _from_window(one)
    facts: dict[str, Any] = {"bars": bars, "least": p["ao_min_magnitude_bps"]}
    if one is not None and found is not None:
        facts |= {
            "burst": one.b,
            "flat": found.record.get("features", {}).get("flat_len") or 0,
            "vwap": one.session.vwap,
            "stretch": p["max_vwap_stretch_percent"] if p["use_vwap_alignment"] else None,
        }
    return json.loads(json.dumps(facts, allow_nan=False, default=str))  # type: ignore[no-any-return]


def _from_window(one: selectors.SeenCandidate) -> list[dict[str, Any]]:
    w = one.window
    k0 = int(w["k0"][0])
    return [
        {"t": figures.time_of((k0 + n) * BUCKET_NS), "k": k0 + n, "o": o, "h": h, "l": low,
         "c": c, "v": v, "x": None if x is None or x != x else x}
        for n, (o, h, low, c, v, x) in enumerate(
            zip(w["o"], w["h"], w["l"], w["c"], w["v"], w["x"], strict=False)
        )
    ]  # fmt: skip


def set_of(found: Decision) -> Any:
    """Return the parameters that a decision was made with."""
    version = found.record.get("params_version") or found.run.parameters_version
    kept = found.run.parameters.get(str(version))
    base = defaults()
    if kept:
        return {**base, **kept}
    try:
        return parameter_selectors.parameters_of(int(version))
    except (ParameterError, ValueError):
        return base


# --- the log -----------------------------------------------------------------------------------


@never_cache
@login_required
@require_GET
def log_page(request: HttpRequest) -> HttpResponse:
    """Activity and errors: filter, page on, acknowledge."""
    run = selectors.current_run()
    asked = {name: request.GET.get(name, "").strip()[:60] for name in ("level", "kind", "q")}
    before = request.GET.get("before", "")
    rows = [] if run is None else selectors.log(
        run,
        levels=LEVELS.get(asked["level"], ()),
        kind=asked["kind"],
        text=asked["q"],
        unread=asked["level"] == "unread",
        before=whole_number(before) or 0,
        limit=LOG_ROWS + 1,
    )  # fmt: skip
    counts = selectors.log_counts(run) if run else {}
    context = {
        "rows": [log.full(row) for row in rows[:LOG_ROWS]],
        "next": rows[LOG_ROWS - 1].pk if len(rows) > LOG_ROWS else None,
        "asked": asked,
        "kinds": selectors.log_kinds(run) if run else [],
        "levels": log.levels(counts, asked["level"]),
        "unread": counts.get("unread", 0),
        "newest": run.activity_set.aggregate(newest=Max("pk"))["newest"] if run else None,
    }
    return page(request, "log.html", "log", context)


@login_required
@require_POST
@access.needs(access.ACKNOWLEDGE)
def acknowledge(request: HttpRequest) -> HttpResponse:
    """Mark problems as read: those chosen, or every one shown when the page was made."""
    read = map(whole_number, request.POST.getlist("id"))
    ids = [pk for pk in read if pk is not None]
    run = selectors.current_run()
    newest = whole_number(request.POST.get("all", ""))
    if run is not None and newest is not None:
        unread = run.activity_set.filter(level__in=selectors.PROBLEMS, seen=None)
        ids = list(unread.filter(pk__lte=newest).values_list("pk", flat=True))
    activity.acknowledge(ids, actor=request.user.get_username())
    where = request.POST.get("back", "")
    return redirect(f"/log/?{where}" if where else "log")
