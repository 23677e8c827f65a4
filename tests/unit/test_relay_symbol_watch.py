"""One mute symbol among others that speak: when we ask, and what the answers mean."""

from hypothesis import given
from hypothesis import strategies as st

from relay import frames
from relay.symbol_watch import Change, Newest, SymbolWatch

NAMES = ["A", "AA", "BRK.B", "ZZZ", "LONGERTHAN8", "LONGERTHAN9"]
SECOND = 1_000_000_000


def a_message(symbol: str, ts_ns: int, kind: str = "t") -> bytes:
    return frames.encode_message({"T": kind, "S": symbol, "i": 1, "p": 1.5, "s": 1, "t": ts_ns})


@given(
    st.sets(st.sampled_from(NAMES)),
    st.lists(st.tuples(st.sampled_from([*NAMES, "B", ""]), st.integers(1, 1 << 60),
                       st.sampled_from("tqx")), min_size=1, max_size=30),
)  # fmt: skip
def test_the_newest_trades_are_what_a_dict_says(watched, sent):
    newest, wanted = Newest(watched), dict.fromkeys(watched, 0)
    newest.note(frames.scan(frames.encode_array([a_message(*one) for one in sent])))
    for symbol, ts_ns, kind in sent:
        if kind == "t" and symbol in wanted:
            wanted[symbol] = max(wanted[symbol], ts_ns)

    assert newest.times() == wanted
    assert bool(newest) == bool(watched)


def test_what_is_known_stays_when_others_are_watched():
    newest = Newest(["A", "B"])
    newest.note(frames.scan(frames.encode_array([a_message("A", 5), a_message("B", 6)])))

    assert Newest(["B", "C"], newest).times() == {"B": 6, "C": 0}


def a_busy(watch: SymbolWatch, symbol: str = "A", *, seconds: int = 60) -> int:
    """A symbol that trades each second; returns the time of its last trade."""
    for second in range(1, seconds + 1):
        watch.note({symbol: second * SECOND}, now_s=float(second), now_ns=0)
    return seconds


def test_a_busy_symbol_is_asked_about_soon_and_a_quiet_one_late():
    watch = SymbolWatch()
    last = a_busy(watch)
    watch.note({"A": last * SECOND, "Q": 0}, now_s=last, now_ns=0)

    assert watch.due(now_s=last + 7, most=9) == []
    assert watch.due(now_s=last + 10, most=9) == ["A"]
    assert watch.due(now_s=last + 11, most=9) == []  # asked just now
    assert watch.due(now_s=last + 121, most=1) in (["A"], ["Q"])
    assert set(watch.due(now_s=last + 250, most=9)) == {"A", "Q"}


def test_the_venue_with_newer_trades_makes_it_mute_and_three_matches_end_that():
    watch = SymbolWatch()
    last = a_busy(watch)
    seen_ns = last * SECOND

    assert watch.answered({"A": seen_ns + SECOND}, ["A"]) == []
    assert watch.answered({}, ["A"]) == []
    later = seen_ns + 3 * SECOND
    assert watch.answered({"A": later}, ["A"]) == [Change("A", True, seen_ns, later)]
    assert watch.answered({"A": later}, ["A"]) == []  # said once
    assert watch.mute == ["A"]
    assert watch.due(now_s=last + 1, most=9) == ["A"]  # always asked about
    watch.note({"A": later}, now_s=last + 4, now_ns=0)
    assert [watch.answered({"A": later}, ["A"]) for _ in range(2)] == [[], []]
    assert watch.answered({"A": later}, ["A"]) == [Change("A", False, later, later)]
    assert watch.mute == []


def test_what_came_before_we_looked_is_not_missed_and_one_dropped_is_forgotten():
    watch = SymbolWatch()
    watch.note({"A": 0}, now_s=0, now_ns=9 * SECOND)

    assert watch.answered({"A": 10 * SECOND}, ["A"]) == []
    watch.note({}, now_s=1, now_ns=9 * SECOND)
    assert watch.answered({"A": 50 * SECOND}, ["A"]) == []
    assert watch.due(now_s=1000, most=9) == []


def test_only_so_many_are_asked_about_at_once_the_longest_quiet_first():
    watch = SymbolWatch()
    watch.note({"A": 1}, now_s=0, now_ns=0)
    watch.note({"A": 1, "B": 1}, now_s=10, now_ns=0)
    watch.note({"A": 1, "B": 1, "C": 1}, now_s=20, now_ns=0)

    assert watch.due(now_s=500, most=2) == ["A", "B"]
    assert watch.due(now_s=501, most=2) == ["C"]
