"""From a call that was understood to a record that is acknowledged, or to a refusal that says why.

The order is: not while leaving; an Idempotency-Key that is known leads to its record; a webhook is
one that can be reached; pictures are found and stored; what is left open is decided (seed, safety);
the cost is estimated; one write.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import Final

from linocut.errors import LinocutError, Unavailable
from linocut.jobs.record import Order, Submission
from linocut.jobs.terms import Limits, Submitted
from linocut.request import MAX_SEED
from linocut.server.context import Service
from linocut.server.dialects.features import FeatureCall
from linocut.server.keyring import Caller
from linocut.server.references import Gathered, discard, gather
from linocut.server.webhooks import check_receiver

UNKNOWN_SECONDS: Final = 60.0  # reserved of a quota while no worker has drawn anything yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A call and how it is to be taken. here: how links of this server begin."""

    call: FeatureCall
    idempotency_key: str = ""
    fingerprint: str = ""
    preview: bool = False
    here: str = ""


async def admit(service: Service, caller: Caller, wish: Wish) -> Submitted:
    """The record that will be drawn, durably; or the error that the caller is told."""
    if service.draining.on:
        raise Unavailable(
            "the server is shutting down and takes no new pictures",
            retry_after=service.settings.drain_seconds + 1,
        )
    if wish.idempotency_key:
        known = await service.store.replay(caller.tenant, wish.idempotency_key, wish.fingerprint)
        if known is not None:
            place = await service.store.place(known.id)
            return Submitted(record=known, replayed=True, place=place)
    check_receiver(wish.call.webhook, service.fetching)
    gathered = await gather(service, caller.tenant, wish.call.sources, here=wish.here)
    try:
        submission = submission_of(service, caller, wish, gathered)
        submitted = await service.store.submit(submission, limits(service, caller))
    except LinocutError:
        await discard(service, caller.tenant, gathered.own)
        raise
    if submitted.replayed:  # another request with this key was faster
        await discard(service, caller.tenant, gathered.own)
    return submitted


def decide(service: Service, caller: Caller, wish: Wish, gathered: Gathered) -> Order:
    """The order without anything left open: a seed is drawn, and the safety check is decided."""
    order = wish.call.order(
        gathered.references,
        seed=secrets.randbelow(MAX_SEED + 1),
        may_disable_safety=may_disable_safety(service, caller),
    )
    return replace(order, request=replace(order.request, preview=wish.preview))


def may_disable_safety(service: Service, caller: Caller) -> bool:
    """Whether `disable_safety_checker` counts for this key."""
    policy = service.settings.safety
    return policy == "off" or (policy == "per-key" and caller.allow_unsafe)


def submission_of(service: Service, caller: Caller, wish: Wish, gathered: Gathered) -> Submission:
    """What the store is handed."""
    order = decide(service, caller, wish, gathered)
    sizes = [(each.width, each.height) for each in gathered.references]
    known = service.supervisor.estimate(order.request, sizes, go_fast=order.go_fast)
    return Submission(
        tenant=caller.tenant,
        key_id=caller.id,
        feature=wish.call.feature,
        model=wish.call.model,
        body=wish.call.body,
        order=order,
        estimate=UNKNOWN_SECONDS if known is None else known,
        is_guess=known is None,
        idempotency_key=wish.idempotency_key,
        fingerprint=wish.fingerprint,
        webhook=wish.call.webhook,
        webhook_events=wish.call.webhook_events,
    )


def limits(service: Service, caller: Caller) -> Limits:
    """The queue's, and the key's own or the usual."""
    return Limits(
        queue=service.settings.queue_limit,
        share=caller.share,
        quota_seconds=caller.quota_seconds,
        workers=service.settings.workers,
    )
