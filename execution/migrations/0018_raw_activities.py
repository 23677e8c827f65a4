"""Gives cash that was booked before activities were kept raw an event, marked as copied from the books."""

import re

from django.db import migrations

LATE = re.compile(r"(; )?\d{4}-\d\d-\d\d was closed$")


def copy(apps, schema_editor):
    Entry = apps.get_model("accounts", "JournalEntry")
    Run = apps.get_model("execution", "Run")
    Event = apps.get_model("execution", "BrokerEvent")
    known = set(Run.objects.values_list("pk", flat=True))
    booked = Entry.objects.filter(
        kind__in=("income", "fee", "transfer", "suspense"), source_key__startswith="cash:"
    )
    for entry in booked.select_related("account").order_by("pk"):
        name = entry.source_key.removeprefix("cash:")
        if entry.account.run_id not in known or len(name) > 110:
            continue
        amount = sum(leg.amount_usd for leg in entry.postings.filter(ledger="cash"))
        word, _, text = LATE.sub("", entry.reason).partition(" ")
        raw = {
            "id": name, "activity_type": word, "symbol": "", "net_amount": str(amount), "qty": "0",
            "date": None, "description": text, "booked_as": entry.kind,
        }
        Event.objects.get_or_create(
            run_id=entry.account.run_id,
            key=f"activity:{name}",
            defaults={
                "source": "books", "event": word[:24], "ts_ns": entry.occurred_ns, "raw": raw,
            },
        )


class Migration(migrations.Migration):

    dependencies = [
        ('execution', '0017_append_only_journal'),
        ('accounts', '0002_splits'),
    ]

    operations = [migrations.RunPython(copy, migrations.RunPython.noop)]
