"""Time by the database's own clock: whole milliseconds since 1970, the same on both databases.

Leases and expiries are compared where they are stored, so servers whose clocks disagree still
agree on who holds what.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

DAY: Final = 86_400_000


class now(FunctionElement[int]):  # noqa: N801 - it reads as the SQL function that it is
    """The time at which the statement runs, even late in a long transaction."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite(element: now, compiler: SQLCompiler, **_: Any) -> str:
    # Days since noon of 4714 BC as a double: good to 0.04 ms. 2440587.5 is 1970.
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(now, "postgresql")
def _postgresql(element: now, compiler: SQLCompiler, **_: Any) -> str:
    # now() would be the time at which the transaction began.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


def millis(seconds: float) -> int:
    """Seconds as the tables hold them."""
    return round(seconds * 1000)


def seconds(ms: int) -> float:
    """Milliseconds of a table as seconds."""
    return ms / 1000


def seconds_or_none(ms: int | None) -> float | None:
    """The same for a time that may not have come yet."""
    return None if ms is None else ms / 1000
