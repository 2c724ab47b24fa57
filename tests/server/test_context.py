"""The bundle that routes read: its parts stay, and every request sees the same of them."""

from __future__ import annotations

import asyncio
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from linocut.server.context import Service
from linocut.server.parts import open_service
from linocut.server.settings import Settings


def test_a_service_is_whole_keeps_its_parts_and_leaves_once(tmp_path: Path) -> None:
    async def check() -> None:
        async with open_service(Settings(data_dir=tmp_path)) as service:
            missing = {part.name for part in fields(Service) if getattr(service, part.name) is None}
            assert missing <= {"tally"}
            assert not service.draining.on
            service.draining.on = True
            assert service.draining.on
            with pytest.raises(FrozenInstanceError):
                service.store = service.store  # type: ignore[misc]

    asyncio.run(check())


def test_two_services_share_no_state(tmp_path: Path) -> None:
    async def check() -> None:
        one, two = Settings(data_dir=tmp_path / "one"), Settings(data_dir=tmp_path / "two")
        async with open_service(one) as first, open_service(two) as second:
            first.draining.on = True
            assert not second.draining.on
            assert first.metrics is not second.metrics
            assert first.secrets.pepper != second.secrets.pepper

    asyncio.run(check())
