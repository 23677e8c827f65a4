"""Letters move by numbers: one owner each, whatever dies, joins or is planned anew."""

from hypothesis import given
from hypothesis import strategies as st

from execution.hub.grants import Grant, Holders, as_rows, from_rows, regrant
from shards.letters import holds
from shards.split import by_load, check, planned, take_over

SYMBOLS = ["0X", "A", "AAPL", "ABCD", "BRK.B", "IBM", "MSFT", "SPY", "ZZ", "a"]
LOADS = st.dictionaries(st.sampled_from(["A", "AA", "AM", "B", "MS", "SP"]), st.floats(0, 99))


def owed(from_k: int):
    return lambda before: from_k


def given_out(wanted, held=(), number=0, from_k=0):
    return regrant(list(held), wanted, number=number, from_k=owed(from_k))


@given(st.lists(st.tuples(st.sets(st.integers(1, 6), min_size=1), LOADS), min_size=1, max_size=6))
def test_however_shards_come_and_go_every_symbol_has_one_grant(steps) -> None:
    grants: list[Grant] = []
    newest = 0
    for living, load in steps:
        assigned: dict[int, list] = {}
        for grant in grants:
            assigned.setdefault(grant.shard, []).extend(grant.ranges)
        wanted = (
            take_over(assigned, sorted(living), load) if grants else by_load(sorted(living), load)
        )
        grants = given_out(wanted, grants, newest)
        newest = max(newest, *(grant.number for grant in grants))

        check({grant.number: grant.ranges for grant in grants})
        holders = Holders(grants)
        for symbol in SYMBOLS:
            mine = [grant for grant in grants if grant.holds(symbol)]
            assert [holders.of(symbol)] == mine
            assert holds(wanted[mine[0].shard], symbol)


def test_who_keeps_letters_keeps_the_number() -> None:
    before = given_out(planned("letters", [1, 2, 3], letters_per_shard=1, load={}))
    after = given_out(
        take_over({g.shard: list(g.ranges) for g in before}, [1, 3], {}),
        before,
        number=3,
        from_k=70,
    )

    assert [g for g in after if g.number <= 3] == [before[0], before[2]]
    fresh = [g for g in after if g.number > 3]
    assert {g.shard for g in fresh} == {1, 3}
    assert {g.from_k for g in fresh} == {70}
    assert all(holds([("J", "S")], low) for g in fresh for low, _ in g.ranges)


def test_a_shard_that_comes_back_gets_what_others_held_for_it() -> None:
    first = given_out(planned("letters", [1, 2], letters_per_shard=1, load={}))
    alone = given_out({1: [("", "")]}, first, number=2)

    again = given_out(planned("letters", [1, 2], letters_per_shard=1, load={}), alone, number=3)

    assert sorted(g.number for g in again) == [1, 4]
    assert [g.shard for g in again if g.number == 4] == [2]


def test_what_is_owed_is_asked_of_the_grants_that_had_the_letters() -> None:
    asked = []

    def from_k(before):
        asked.append(sorted(grant.number for grant in before))
        return 5

    held = [
        Grant(number=1, shard=1, ranges=(("", "B"),)),
        Grant(number=2, shard=2, ranges=(("B", "C"),)),
        Grant(number=3, shard=3, ranges=(("C", ""),)),
    ]
    regrant(held, {2: [("", "C")], 3: [("C", "")]}, number=3, from_k=from_k)

    assert asked == [[1]]


def test_grants_survive_the_database() -> None:
    grants = given_out({1: [("", "M"), ("X", "")], 2: [("M", "X")]}, from_k=9)

    assert from_rows(as_rows(grants)) == grants


def test_nobody_holds_what_was_not_given() -> None:
    assert Holders([]).of("IBM") is None
    assert Holders([Grant(number=1, shard=1, ranges=(("M", "N"),))]).of("IBM") is None
    assert Holders([Grant(number=1, shard=1, ranges=(("M", "N"),))]).of("SPY") is None
