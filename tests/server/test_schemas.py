"""OpenAPI's answers: examples that fit, problems for errors, nothing of the framework's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query

from linocut.server.dialects.features_schema import request_body
from linocut.server.problems import ALL_CODES, MEDIA_TYPE
from linocut.server.schemas import EVERYWHERE, AiRecordAnswer, Problem, answers, describe

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


def test_the_description_holds_problems_and_not_the_frameworks_422() -> None:
    app = FastAPI(title="t", version="1")

    @app.post("/a", responses=answers(AiRecordAnswer, 400, 422, 429), openapi_extra=request_body())
    async def _post(n: Annotated[int, Query()] = 1) -> None:
        del n

    @app.get("/b")
    async def _get(n: int) -> None:
        del n

    found = describe(app)
    posted = found["paths"]["/a"]["post"]
    everywhere = {str(status.value) for status in EVERYWHERE}
    assert set(posted["responses"]) == {"200", "400", "422", "429"} | everywhere
    assert list(posted["responses"]["422"]["content"]) == [MEDIA_TYPE]
    assert "`queue_full`" in posted["responses"]["429"]["description"]
    assert posted["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert set(found["paths"]["/b"]["get"]["responses"]) == {"200"} | everywhere
    late = found["paths"]["/b"]["get"]["responses"]["408"]["$ref"].rpartition("/")[2]
    assert list(found["components"]["responses"][late]["content"]) == [MEDIA_TYPE]
    schemas = found["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    assert set(schemas["Problem"]["required"]) == set(Problem.model_fields) - {"uuid"}
    text = json.dumps(found)
    assert "$defs" not in text
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in schemas


def test_every_status_of_an_error_can_be_described() -> None:
    statuses = {row.status for row in ALL_CODES.values()}
    found = answers(None, *statuses, status=204)
    assert set(found) == statuses | {204}
    assert all(found[status]["description"] for status in found)


def test_the_example_of_a_problem_is_one() -> None:
    for example in Problem.model_json_schema()["examples"]:
        Problem.model_validate_json(json.dumps(example))


def test_the_page_of_the_api_shows_true_answers() -> None:
    page = DOCS.read_text(encoding="utf-8")
    shown = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    AiRecordAnswer.model_validate_json(json.dumps(shown[0]))
    assert shown[1] == Problem.model_json_schema()["examples"][0]
