"""`Signer`: a link opens what it was signed for, until it expires, and nothing else."""

from __future__ import annotations

import base64
import hmac
import random
import string
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

import pytest

from linocut.errors import Forbidden
from linocut.images.signing import MAX_SECONDS, Signer

NOW = 1_774_605_604.9
KEY = "development/images/2026_03_27_10_00_04_001_x7k2pq_coffee_shop.webp"
RING = {"k1": b"1" * 32, "k2": b"2" * 32}
ALPHABET = string.ascii_letters + string.digits + "-_=+/%.&\n\0é"


@dataclass(frozen=True)
class Link:
    """A link as it arrives."""

    key: str
    exp: str
    kid: str
    sig: str


@pytest.fixture
def signer() -> Signer:
    return Signer(RING, "k2")


def link(signer: Signer, *, key: str = KEY, seconds: int = 3600) -> Link:
    query = parse_qs(signer.sign(key, now=NOW, seconds=seconds), strict_parsing=True)
    return Link(key, query["exp"][0], query["kid"][0], query["sig"][0])


def opens(signer: Signer, link: Link, *, now: float = NOW) -> bool:
    try:
        signer.verify(link.key, exp=link.exp, kid=link.kid, sig=link.sig, now=now)
    except Forbidden:
        return False
    return True


def test_a_link_opens_what_it_was_signed_for(signer: Signer) -> None:
    signed = link(signer)
    assert opens(signer, signed)
    left = signer.verify(KEY, exp=signed.exp, kid=signed.kid, sig=signed.sig, now=NOW + 600)
    assert left == 3000


def test_the_signature_is_the_published_formula(signer: Signer) -> None:
    signed = link(signer)
    text = f"v1\nGET\n{KEY}\n{int(NOW) + 3600}\nk2".encode()
    digest = hmac.new(RING["k2"], text, "sha256").digest()
    assert signed.sig == base64.urlsafe_b64encode(digest).decode().rstrip("=")


def mutated(text: str, chance: random.Random) -> str:
    """The text with one small change."""
    at = chance.randrange(len(text) + 1)
    new = chance.choice(ALPHABET)
    changes = (
        text[:at] + new + text[at:],
        text[:at] + new + text[at + 1 :],
        text[:at] + text[at + 1 :],
        text[:at] + text[at:].swapcase(),
        text + new,
        text[at:] + text[:at],
        "",
    )
    return chance.choice(changes)


def test_ten_thousand_changed_links_are_refused(signer: Signer) -> None:
    chance = random.Random(4711)  # noqa: S311 - chance that can be repeated
    signed = link(signer)
    changed: set[Link] = set()
    while len(changed) < 10_000:
        fields = chance.sample(["key", "exp", "kid", "sig"], chance.choice((1, 1, 1, 2, 3)))
        candidate = replace(signed, **{f: mutated(getattr(signed, f), chance) for f in fields})
        if candidate != signed:
            changed.add(candidate)
    assert opens(signer, signed)
    assert [one for one in changed if opens(signer, one)] == []


def test_a_signature_has_one_spelling(signer: Signer) -> None:
    signed = link(signer)
    letters = string.ascii_letters + string.digits + "-_"
    spellings = [replace(signed, sig=signed.sig[:-1] + letter) for letter in letters]
    raw = base64.urlsafe_b64decode(signed.sig + "=")
    same = [s for s in spellings if base64.urlsafe_b64decode(s.sig + "=") == raw]
    assert len(same) == 4  # two bits of the last letter mean nothing
    assert [s for s in spellings if opens(signer, s)] == [signed]
    assert not opens(signer, replace(signed, sig=signed.sig + "="))


@pytest.mark.parametrize("exp", ["", "0", "-1", "+{}", " {}", "{} ", "0{}", "{}.0", "{}\n", "1_0"])
def test_an_expiry_has_one_spelling(signer: Signer, exp: str) -> None:
    signed = link(signer)
    assert not opens(signer, replace(signed, exp=exp.format(signed.exp)))


def test_digits_of_other_scripts_are_no_expiry(signer: Signer) -> None:
    signed = link(signer)
    arabic = signed.exp.translate({ord(str(i)): 0x0660 + i for i in range(10)})
    assert int(arabic) == int(signed.exp)
    assert not opens(signer, replace(signed, exp=arabic))


def test_a_link_of_one_picture_opens_no_other(signer: Signer) -> None:
    other = link(signer, key="images/other.png")
    assert not opens(signer, replace(other, key=KEY))


@pytest.mark.parametrize(("moment", "expected"), [(-1, True), (0, False), (1, False)])
def test_a_link_holds_to_the_second(signer: Signer, moment: int, *, expected: bool) -> None:
    signed = link(signer, seconds=60)
    assert opens(signer, signed, now=int(NOW) + 60 + moment) is expected


def test_an_expired_link_says_so(signer: Signer) -> None:
    signed = link(signer, seconds=60)
    with pytest.raises(Forbidden, match="expired") as caught:
        signer.verify(KEY, exp=signed.exp, kid=signed.kid, sig=signed.sig, now=NOW + 61)
    assert "fresh link" in caught.value.hint


def test_an_old_secret_is_believed_until_it_is_retired() -> None:
    old = link(Signer({"k1": RING["k1"]}, "k1"))
    assert opens(Signer(RING, "k2"), old)
    assert not opens(Signer({"k2": RING["k2"]}, "k2"), old)


def test_a_secret_of_the_same_name_is_not_enough(signer: Signer) -> None:
    forged = link(Signer({"k2": b"3" * 32}, "k2"))
    assert not opens(signer, forged)


@pytest.mark.parametrize("seconds", [0, -1, MAX_SECONDS + 1])
def test_a_link_lasts_at_most_seven_days(signer: Signer, seconds: int) -> None:
    assert opens(signer, link(signer, seconds=MAX_SECONDS))
    with pytest.raises(ValueError, match="7 days"):
        signer.sign(KEY, now=NOW, seconds=seconds)


@pytest.mark.parametrize("odd", ["é", "\ud800", "\0", "x" * 100_000])
def test_no_text_breaks_the_check(signer: Signer, odd: str) -> None:
    signed = link(signer)
    for field in ("key", "exp", "kid", "sig"):
        assert not opens(signer, replace(signed, **{field: odd}))


@pytest.mark.parametrize(
    ("ring", "current"),
    [({}, "k1"), (RING, "k3"), ({"k1": b"short"}, "k1"), ({"k 1": b"1" * 32}, "k 1")],
)
def test_a_ring_is_right_from_birth(ring: dict[str, bytes], current: str) -> None:
    with pytest.raises(ValueError, match=r"secret|kid|current"):
        Signer(ring, current)


def test_the_secrets_are_not_shown(signer: Signer) -> None:
    assert "1111" not in repr(signer)
