"""Django's admin: every model is there, the books and the records can only be looked at."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from tests import page_market

OURS = ("accounts", "execution", "signals", "tradeplane", "relay", "shards")
MODELS = [m for app in OURS for m in apps.get_app_config(app).get_models()]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m._meta.label)
def test_every_model_is_in_the_admin(model: type) -> None:
    assert model in admin.site._registry


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m._meta.label)
@pytest.mark.django_db
def test_lists_open_and_nobody_adds_to_the_books(model: type, admin_client: Client) -> None:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"  # type: ignore[attr-defined]

    assert admin_client.get(reverse(f"{name}_changelist")).status_code == 200
    if model._meta.app_label in ("accounts", "execution", "signals"):  # type: ignore[attr-defined]
        assert admin_client.get(reverse(f"{name}_add")).status_code == 403


@pytest.mark.django_db
def test_a_record_opens_and_cannot_be_changed_or_deleted(admin_client: Client) -> None:
    page_market.fill()

    for model in MODELS:
        row = model._default_manager.first()
        if row is None or model._meta.app_label == "tradeplane":
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        page = admin_client.get(reverse(f"{name}_change", args=[row.pk]))
        gone = admin_client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"})
        assert page.status_code == 200, model
        assert b'name="_save"' not in page.content, model
        assert gone.status_code == 403, model
