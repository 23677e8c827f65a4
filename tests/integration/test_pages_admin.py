"""Django's admin: every model is there, the books and the records can only be looked at."""

from pathlib import Path

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from execution.models import KillSwitch
from execution.selectors import kill_level
from execution.services import runs
from tests import page_market

ROOT = Path(__file__).parents[2]
OURS = [app for app in apps.get_app_configs() if Path(app.path).parent == ROOT]
MODELS = [model for app in OURS for model in app.get_models()]
LABELS = {model: model._meta.label for model in MODELS}


def address(model: type, page: str, *args: object) -> str:
    meta = model._meta  # type: ignore[attr-defined]
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_{page}", args=args)


def test_the_walk_sees_every_app_of_ours() -> None:
    names = {app.label for app in OURS}

    assert {"accounts", "execution", "signals", "tradeplane", "relay", "shards"} <= names


@pytest.mark.parametrize("model", MODELS, ids=LABELS.get)
def test_every_model_is_in_the_admin(model: type) -> None:
    assert model in admin.site._registry, "register it, read-only unless people own it"


@pytest.mark.parametrize("model", MODELS, ids=LABELS.get)
@pytest.mark.django_db
def test_lists_open_and_nobody_adds(model: type, admin_client: Client) -> None:
    assert admin_client.get(address(model, "changelist")).status_code == 200
    assert admin_client.get(address(model, "add")).status_code == 403
    assert admin_client.post(address(model, "add"), {}).status_code == 403


@pytest.mark.django_db
def test_a_record_opens_and_cannot_be_changed_or_deleted(admin_client: Client) -> None:
    page_market.fill()
    seen = set()

    for model in MODELS:
        row = model._default_manager.first()
        if row is None:
            continue
        before = {f.attname: getattr(row, f.attname) for f in model._meta.concrete_fields}
        page = admin_client.get(address(model, "change", row.pk))
        changed = admin_client.post(address(model, "change", row.pk), {"reason": "x", "_save": "1"})
        gone = admin_client.post(address(model, "delete", row.pk), {"post": "yes"})
        many = admin_client.post(
            address(model, "changelist"),
            {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"},
        )

        assert page.status_code == 200, model
        assert b'name="_save"' not in page.content, model
        assert (changed.status_code, gone.status_code) == (403, 403), model
        assert many.status_code in (200, 302, 403), model
        kept = model._default_manager.get(pk=row.pk)
        assert {name: getattr(kept, name) for name in before} == before, model
        seen.add(model._meta.label)

    assert {"accounts.JournalEntry", "accounts.Posting", "execution.Order"} <= seen


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("standing", "action", "then", "said"),
    [
        ("pause", "flatten", "flatten", "The kill switch is at flatten."),
        ("flatten", "pause", "flatten", "stands at flatten, which is stronger than pause"),
        ("freeze", "flatten", "freeze", "the stop page asks for the word"),
    ],
)
def test_its_actions_on_the_kill_switch_only_tighten(
    admin_client: Client, standing: str, action: str, then: str, said: str
) -> None:
    row = runs.set_kill_switch(level=standing, reason="a test", actor="test")

    answer = admin_client.post(
        address(KillSwitch, "changelist"),
        {"action": action, "_selected_action": [str(row.pk)]},
        follow=True,
    )

    assert said in answer.content.decode()
    assert kill_level() == then
