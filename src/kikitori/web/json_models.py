"""JSON bodies as models: read when it is known who asks, and bounded while they come, which FastAPI does not do."""

from __future__ import annotations

from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from kikitori.web.bodies import JSON, MAX_BODY_BYTES, content_type, json_object, unknown_type

M = TypeVar("M", bound=BaseModel)


async def json_model(request: Request, kind: type[M], *, most: int = MAX_BODY_BYTES) -> M:
    """No body is an empty object. Raises RequestValidationError, InvalidInput, TooLarge, ClientGone."""
    sent = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
    # Pages of any site may send other types without asking first.
    if sent and content_type(request) != JSON:
        raise unknown_type(request, JSON)
    try:
        return kind.model_validate(await json_object(request, most=most) if sent else {})
    except ValidationError as exc:
        raise RequestValidationError(exc.errors(include_input=False, include_url=False)) from None


def json_body(kind: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The body in the description of the API."""
    schema = kind.model_json_schema()
    inner = schema.pop("$defs", {})
    for field in schema["properties"].values():
        if name := field.get("items", {}).get("$ref", "").rpartition("/")[2]:
            field["items"] = inner[name]
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}
