"""What answers look like, for OpenAPI and for whoever generates a client from it.

Nothing is validated by these at run time; tests hold real answers against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict, Field

from linocut.errors import InvalidRequest
from linocut.server import schemas_events
from linocut.server.problems import ALL_CODES, MEDIA_TYPE, problem
from linocut.server.schemas_headers import HEADERS, has_its_own, headers

UUID: Final = "0199e8a4-5b8c-7d2e-9f10-1a2b3c4d5e6f"
KEY: Final = "images/2026_03_27_10_00_04_001_x7k2pq_a_cozy_coffee_shop.webp"
MOMENT: Final = "2026-03-27T10:00:00.000Z"
LINK: Final = f"http://127.0.0.1:8000/files/{KEY}?exp=1774692004&kid=1&sig=…"


class Shape(BaseModel):
    """An object with exactly these members."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Safety(BaseModel):
    """What the safety check did."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    checked: bool = Field(description="Whether prompt and pictures are checked.")


class Place(Shape):
    """How the record stands in the queue."""

    place: int | None = Field(
        description="1 is next, 0 is being drawn; null when it has ended. "
        "The list of records does not tell it: there it is null."
    )
    seconds_left: float | None = Field(description="About how long it still takes.")
    seconds_waited: float | None = Field(description="How long it waited for a worker.")


class StoredError(Shape):
    """Why a record failed."""

    code: str = Field(description="One of the error codes.")
    message: str
    hint: str


class Metadata(BaseModel):
    """What was done. Before the picture is drawn only a part is known."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    seed: int = Field(description="The seed that is used, also if none was sent.")
    width: int
    height: int
    safety: Safety
    warnings: list[str] = Field(description="What was ignored or done differently, in words.")
    queue: Place
    started_at: str | None
    finished_at: str | None
    kept_until: str | None = Field(
        description="When the record is deleted for its age; null for never."
    )
    kept_while_room: bool = Field(
        description="Whether it may go earlier: room is limited, and the oldest records go first."
    )
    starred: bool
    drawn_width: int | None = Field(None, description="The size that the checkpoint drew.")
    drawn_height: int | None = None
    checkpoint: str | None = Field(None, description="The checkpoint that drew.")
    mode: str | None = Field(None, description="`exact`, or the fast mode that was permitted.")
    demo: bool | None = Field(None, description="Whether that was the demo checkpoint.")
    threads: int | None = Field(
        None, description="How many a CPU computed with: a part of the mode. Null for a GPU."
    )
    seconds: float | None = Field(None, description="How long a worker was busy with it.")
    timings: dict[str, float] | None = None
    error: StoredError | None = Field(None, description="With status FAILURE only.")


class Detail(Shape):
    """What was sent, and the keys of what was drawn."""

    promptObject: dict[str, Any] = Field(description="As it was sent; data URIs are shortened.")
    resultObject: list[str] = Field(description="Storage keys; empty before SUCCESS.")


class AiRecord(Shape):
    """A request and what became of it."""

    uuid: str = Field(examples=[UUID])
    model: str = Field(description="As it was sent.", examples=["black-forest-labs/flux-2-dev"])
    type: Literal["IMAGE_GENERATOR", "IMAGE_EDITOR"]
    status: Literal["PROCESSING", "SUCCESS", "FAILURE", "CANCELED"]
    createdAt: str = Field(examples=[MOMENT])
    metadata: Metadata
    aiRecordDetail: Detail
    temporaryUrl: str | None = Field(
        description="The picture, for whoever has this link, until it expires.", examples=[LINK]
    )


class AiRecordAnswer(Shape):
    """One record."""

    aiRecord: AiRecord


class ResultAnswer(Shape):
    """One record, or null for an id that is unknown, expired or somebody else's."""

    aiRecord: AiRecord | None


class RecordsPage(Shape):
    """A page of the history, the newest first."""

    records: list[AiRecord]
    has_more: bool
    next_cursor: str | None = Field(description="For `cursor` of the next call.")


class Modality(Shape):
    """What goes in and what comes out."""

    INPUT: list[str]
    OUTPUT: list[str]


class Repertoire(Shape):
    """All that a demo checkpoint was taught: expect nothing else to come out as asked for."""

    things: dict[str, list[str]] = Field(description="Names of things, by their group.")
    styles: list[str]
    backgrounds: list[str] = Field(description="The colours behind a thing.")


class Model(Shape):
    """A model that can be asked for."""

    modelId: str
    name: str
    provider: str
    status: str
    features: list[str]
    modality: Modality
    creditMetadata: None
    aliases: list[str]
    checkpoint: str | None = Field(description="What draws it here; null until it is loaded.")
    demo: bool
    repertoire: Repertoire | None = Field(
        description="What can be asked for, where that is a list; null for the whole of FLUX.2."
    )


class ModelsAnswer(Shape):
    """What is served."""

    models: list[Model]


class AssetMetadata(BaseModel):
    """What is known of the upload."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    width: int
    height: int
    kept_until: str | None = Field(
        description="When it is deleted if no request uses it before; each use begins the time "
        "anew. Null for never."
    )


class AssetFacts(BaseModel):
    """The upload as the hosted store describes one."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    fieldname: str
    originalname: str
    mimetype: str
    size: int
    key: str = Field(examples=[KEY])
    metadata: AssetMetadata
    location: str = Field(description="A link to it that expires.")
    etag: str


class FileContent(BaseModel):
    """The upload as clients read it."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    uuid: str
    path: str = Field(description="The key to send as `imageUrl`.", examples=[KEY])
    type: str
    name: str
    status: str
    createdAt: str = Field(examples=[MOMENT])


class AssetAnswer(Shape):
    """An upload that was stored."""

    asset: AssetFacts
    fileContent: FileContent


class Wrong(Shape):
    """One field that is wrong."""

    pointer: str = Field(
        description="JSON pointer into the body, or `query:limit`, `header:Range`."
    )
    message: str


class Told(Shape):
    """The error once more, for clients that look here."""

    code: str
    message: str


_EXAMPLE: Final = problem(
    InvalidRequest(
        "guidance=12: use a number from 0 to 10; the nearest is 10",
        fields=[
            (
                "#/promptObject/guidance",
                "guidance=12: use a number from 0 to 10; the nearest is 10",
            )
        ],
    ),
    request_id=UUID,
    instance="/api/features",
)


class Problem(Shape):
    """An error: RFC 9457, and what clients of the hosted API look for."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    type: str = Field(description="`urn:linocut:error:` and the code.")
    title: str = Field(description="What the code means.")
    status: int
    detail: str = Field(description="What happened, and what is allowed.")
    instance: str = Field(description="The address that was asked.")
    code: str = Field(description="Stable; see the list of codes.", examples=sorted(ALL_CODES))
    hint: str = Field(description="What to do; may be empty.")
    request_id: str = Field(description="To tell the operator; also the header X-Request-Id.")
    errors: list[Wrong] = Field(description="All fields that are wrong.")
    success: Literal[False]
    errorCode: str = Field(description="The code in capitals.")
    message: str = Field(description="As `detail`.")
    details: str = Field(description="A JSON text: the fields that are wrong, or `context`.")
    context: dict[str, Any] = Field(description="Numbers and words that the code adds.")
    error: Told
    uuid: str | None = Field(None, description="The record that failed, if there is one.")


UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["asset"],
                    "properties": {
                        "asset": {
                            "type": "string",
                            "format": "binary",
                            "description": "A PNG, JPEG or WebP file.",
                        }
                    },
                }
            }
        },
    }
}


# What a request may meet before its route is asked, or whatever the route is; and what that says
# where the list of codes does not.
EVERYWHERE: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "",
    HTTPStatus.REQUEST_TIMEOUT: "`invalid_body`: the request took too long to come.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "`payload_too_large`: its headers are too large.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "",
    HTTPStatus.SERVICE_UNAVAILABLE: "",
}


def answers(
    model: type[BaseModel] | None, *problems: int, status: int = 200, about: str = "Done."
) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: its answer, and the statuses of the problems that it may tell."""
    good: dict[str, Any] = {"description": about} | ({"model": model} if model else {})
    return {status: good, **{each: _told(each) for each in sorted(set(problems))}}


def sent_header(name: str, about: str) -> dict[str, Any]:
    """A header that a route reads by itself, for the `parameters` of its `openapi_extra`."""
    schema = {"type": "string"}
    return {"name": name, "in": "header", "required": False, "description": about, "schema": schema}


def describe(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI: with all that an address may answer or tell, and their headers.

    Without the framework's 422.
    """
    found: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
    )
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"] = _answered(operation)
    parts: dict[str, Any] = found.setdefault("components", {})
    schemas: dict[str, Any] = parts.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _inlined(Problem.model_json_schema())
    schemas.update(schemas_events.SCHEMAS)
    parts["headers"] = dict(HEADERS)
    parts["responses"] = {
        status.name: _everywhere(status) | {"headers": headers(status)} for status in EVERYWHERE
    }
    found["webhooks"] = schemas_events.WEBHOOKS
    return found


def _answered(operation: Mapping[str, Any]) -> dict[str, Any]:
    """An operation's responses, complete."""
    name, found = operation["operationId"], operation["responses"]
    _drop_framework_422(found)
    for status in EVERYWHERE:
        shared = {"$ref": f"#/components/responses/{status.name}"}
        own = _everywhere(status) if has_its_own(name, status) else shared
        found.setdefault(str(status.value), own)
    for status, said in found.items():
        if "$ref" not in said:
            said["headers"] = headers(int(status), of=name)
        if schemas_events.MEDIA_TYPE in said.get("content", {}):
            said["content"][schemas_events.MEDIA_TYPE] = {"schema": schemas_events.EVENT}
    return dict(sorted(found.items()))


def _everywhere(status: HTTPStatus) -> dict[str, Any]:
    about = EVERYWHERE[status]
    return _told(status) | ({"description": about} if about else {})


def _told(status: int) -> dict[str, Any]:
    """By reference, since FastAPI would give a model `application/json`."""
    codes = [code for code, row in ALL_CODES.items() if row.status == status]
    schema = {"$ref": "#/components/schemas/Problem"}
    about = ", ".join(f"`{code}`" for code in codes)
    return {"description": about, "content": {MEDIA_TYPE: {"schema": schema}}}


def _drop_framework_422(responses: dict[str, Any]) -> None:
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its definitions in their places: a component may not have its own."""
    definitions: Mapping[str, Any] = schema.pop("$defs", {})

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            return placed(definitions[name]) if name else {k: placed(v) for k, v in value.items()}
        return [placed(each) for each in value] if isinstance(value, list) else value

    return dict(placed(schema))
