"""What a picture's file says about itself: XMP, written here and nowhere else, and read back.

Programs for pictures find the standard properties: IPTC's digital source type (the AI mark) and
AI system, the tool's name, the prompt as the description. `linocut:parameters` holds every value,
the exact prompt included, as one JSON object whose names are the API's.

A prompt may hold characters that XML cannot: in the JSON they are escaped and come back as they
were; in the description they appear as U+FFFD. The packet has no date: same picture, same bytes.
"""

from __future__ import annotations

import html
import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Final
from xml.parsers import expat

from linocut.images.containers import Damaged, xmp_packets

NAMESPACE: Final = "urn:linocut:xmp:1.0/"
AI_MARK: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

_NAMESPACES: Final = {
    "x": "adobe:ns:meta/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "linocut": NAMESPACE,
}
_PARAMETERS: Final = f"{NAMESPACE} parameters"
_NOT_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_KEPT_ESCAPED: Final = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_WHOLE: Final = frozenset(
    {"seed", "width", "height", "drawn_width", "drawn_height", "num_inference_steps", "references"}
    | {"threads"}
)
_MAY_BE_NONE: Final = ("prompt", "threads")
_LARGEST: Final = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """How a picture came to be: enough to draw it again.

    prompt: None where it was left out of the file.   references: how many pictures it was shown.
    checkpoint, mode: what drew it, and how.   threads: of the CPU; None where a GPU drew, and in
    files from before they were noted.   software: the program and its version.
    Every picture with metadata is AI-generated, so that mark is no choice.
    """

    ai_generated: ClassVar[bool] = True

    prompt: str | None
    seed: int
    width: int
    height: int
    drawn_width: int
    drawn_height: int
    num_inference_steps: int
    guidance: float
    prompt_strength: float
    references: int
    checkpoint: str
    mode: str
    demo: bool
    threads: int | None = None
    software: str = "linocut"

    def without_prompt(self) -> Metadata:
        """The same, silent about what was asked for."""
        return replace(self, prompt=None)

    def to_json(self) -> dict[str, Any]:
        """Plain values under the API's names, the AI mark among them."""
        return asdict(self) | {"ai_generated": self.ai_generated}


def read_metadata(data: bytes) -> Metadata | None:
    """What linocut wrote into this file; None where it did not, or it is no longer whole."""
    try:
        packets = xmp_packets(data)
    except Damaged:
        return None
    for packet in packets:
        text = _find_parameters(packet)
        if text is not None:
            return _parse(text)
    return None


def xmp_packet(metadata: Metadata) -> bytes:
    """One XMP packet with everything in it."""
    return _packet(_mark(metadata) | _values(metadata), _description(metadata))


def split_xmp_packet(metadata: Metadata) -> tuple[bytes, bytes]:
    """(main, extension): for a JPEG that must keep its main packet below 64 KB."""
    from_here = _packet(_values(metadata), _description(metadata), wrapped=False)
    return _packet(_mark(metadata)), from_here


def referring_to(packet: bytes, name: bytes) -> bytes:
    """The main packet with the name of its extension in it."""
    note = b' xmpNote:HasExtendedXMP="' + name + b'"'
    return packet.replace(b' rdf:about=""', b' rdf:about=""' + note, 1)


def _mark(metadata: Metadata) -> dict[str, str]:
    return {
        "xmp:CreatorTool": metadata.software,
        "Iptc4xmpExt:DigitalSourceType": AI_MARK,
        "Iptc4xmpExt:AISystemUsed": metadata.checkpoint,
    }


def _values(metadata: Metadata) -> dict[str, str]:
    values = {name: value for name, value in metadata.to_json().items() if value is not None}
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    escaped = _KEPT_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return {"linocut:parameters": escaped}


def _description(metadata: Metadata) -> str:
    if metadata.prompt is None:
        return ""
    return (
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">'
        f"{_escaped(metadata.prompt)}</rdf:li></rdf:Alt></dc:description>"
    )


def _packet(properties: dict[str, str], inside: str = "", *, wrapped: bool = True) -> bytes:
    """RDF with simple properties as attributes, and `inside` as its body."""
    spaces = "".join(
        f' xmlns:{prefix}="{uri}"' for prefix, uri in _NAMESPACES.items() if prefix != "x"
    )
    attributes = "".join(f'\n {name}="{_escaped(value)}"' for name, value in properties.items())
    text = (
        f'<x:xmpmeta xmlns:x="{_NAMESPACES["x"]}"><rdf:RDF xmlns:rdf="{_NAMESPACES["rdf"]}">\n'
        f'<rdf:Description rdf:about=""{spaces}{attributes}>{inside}</rdf:Description>\n'
        "</rdf:RDF></x:xmpmeta>"
    )
    if wrapped:
        begin = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        text = f'{begin}\n{text}\n<?xpacket end="r"?>'
    return text.encode()


def _escaped(text: str) -> str:
    """Fit for an attribute and for an element (no `&#x27;`: Adobe's parser reads it as a space)."""
    plain = html.escape(_NOT_IN_XML.sub("\ufffd", text), quote=False)
    return plain.replace('"', "&quot;").replace("\r", "&#13;")


class _Refused(ValueError):
    """XML that needs more than elements, attributes and text."""


def _find_parameters(packet: bytes) -> str | None:
    """`linocut:parameters`, as an attribute or as an element (other tools may rewrite it so)."""
    found: list[str] = []
    inside: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise _Refused

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        if _PARAMETERS in attributes:
            found.append(attributes[_PARAMETERS])

    def text(value: str) -> None:
        if inside[-1] == _PARAMETERS:
            found.append(value)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: inside.pop()
    parser.CharacterDataHandler = text
    try:
        parser.Parse(packet.strip(b"\0 \t\r\n"), True)
    except (expat.ExpatError, _Refused, ValueError):
        return None
    return "".join(found) or None


def _parse(text: str) -> Metadata | None:
    """The JSON object as `Metadata`, if every value is there and of its kind."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    for name in _MAY_BE_NONE:
        values.setdefault(name, None)
    names = [field.name for field in fields(Metadata)]
    if not all(name in values and _is_of_its_kind(name, values[name]) for name in names):
        return None
    return Metadata(**{name: values[name] for name in names})


def _is_of_its_kind(name: str, value: object) -> bool:
    if value is None:
        return name in _MAY_BE_NONE
    if name == "demo":
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if name in _WHOLE:
        return isinstance(value, int) and 0 <= value < _LARGEST
    if name in ("guidance", "prompt_strength"):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, str)
