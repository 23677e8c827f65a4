"""Versions of the parameters in the database, and the command that shows them."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from signals import selectors, services
from signals.errors import StaleParameters
from signals.models import ActiveParameters, ParameterSet
from signals.parameters.catalogue import BadValue, InvalidParameters, defaults, profile

pytestmark = [pytest.mark.db, pytest.mark.django_db]


def save(base: int = 0, **changes: object) -> int:
    return services.save_parameters(
        values={**defaults(), **changes}, author="owner", comment="why", base_version=base
    )


def test_without_a_version_the_catalogue_counts_as_version_zero():
    assert selectors.active_parameters() == (0, defaults())
    assert selectors.parameters_of(0) == defaults()


def test_a_saved_version_counts_only_once_it_is_activated():
    version = save(fast_period=7)

    assert selectors.active_parameters()[0] == 0
    assert services.activate(version) == version
    number, values = selectors.active_parameters()
    assert (number, values["fast_period"]) == (1, 7)
    assert {type(v) for v in values.values()} == {bool, int, float, str, list}


def test_a_version_counts_from_its_bucket_on():
    first = services.activate(save(fast_period=7), active_from_k=100)
    second = services.activate(save(first, fast_period=8), active_from_k=200)

    assert selectors.active_parameters(99)[0] == 0
    assert selectors.active_parameters(100)[0] == first
    assert selectors.active_parameters(199)[0] == first
    assert selectors.active_parameters(200)[0] == second
    assert selectors.active_parameters()[0] == second


def test_an_invalid_set_is_refused_and_nothing_is_saved():
    with pytest.raises(InvalidParameters, match="fast_period"):
        save(fast_period=40)
    assert not ParameterSet.objects.exists()


def test_a_set_edited_from_an_old_version_is_stale():
    services.activate(save(fast_period=7))

    with pytest.raises(StaleParameters, match="version 1 became active"):
        save(0, fast_period=8)


def test_a_version_that_is_not_there_is_named():
    with pytest.raises(BadValue, match="no parameter version 9"):
        services.activate(9)
    with pytest.raises(BadValue, match="no parameter version 9"):
        selectors.parameters_of(9)


def test_rows_are_written_once():
    services.activate(save(fast_period=7))
    row, active = ParameterSet.objects.get(), ActiveParameters.objects.get()

    for written in (row, active):
        with pytest.raises(TypeError, match="never changed"):
            written.save()
        with pytest.raises(TypeError, match="never deleted"):
            written.delete()


def test_a_parameter_younger_than_the_saved_set_has_its_default():
    values = defaults()
    del values["min_score"]
    ParameterSet.objects.create(
        version=1, base=0, values=values, sha256="", author="owner", comment=""
    )
    services.activate(1)

    assert selectors.active_parameters()[1]["min_score"] == 45.0


def test_the_history_tells_what_each_version_changed():
    first = services.activate(save(fast_period=7))
    services.activate(save(first, fast_period=7, min_score=50.0))

    newest, oldest = selectors.parameter_history()

    assert newest.changed == {"min_score": (45.0, 50.0)}
    assert oldest.changed == {"fast_period": (5, 7)}
    assert (newest.author, newest.comment, newest.base) == ("owner", "why", 1)


def test_the_fingerprint_is_of_the_values_only():
    services.activate(save(fast_period=7))
    again = save(1, fast_period=7)

    prints = set(ParameterSet.objects.values_list("sha256", flat=True))
    assert (again, len(prints)) == (2, 1)
    assert prints == {services.fingerprint({**defaults(), "fast_period": 7})}


def output_of(*args: str) -> str:
    out = StringIO()
    call_command("parameters", *args, stdout=out)
    return out.getvalue()


def test_the_command_lists_and_shows_what_counts():
    services.activate(save(fast_period=7))

    assert "fast_period = 7 buckets  (default 5)" in output_of("list")
    assert json.loads(output_of("list", "--json"))["version"] == 1
    assert json.loads(output_of("--profile", "quiet", "--json"))["values"] == profile("quiet")
    assert "range 2 – 60" in output_of("show", "fast_period")


def test_the_command_names_an_unknown_parameter_in_one_line():
    with pytest.raises(CommandError, match="did you mean fast_period") as refused:
        output_of("show", "fast_perod")
    assert "\n" not in str(refused.value)
    with pytest.raises(CommandError, match="needs a name"):
        output_of("show")
