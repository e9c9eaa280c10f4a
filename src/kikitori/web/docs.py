"""``/docs``. Swagger UI comes with the installation, so it works on a closed network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

ASSETS_URL = "/docs/assets"

NARROW = """<style>
@media (max-width: 640px) {
  /* A form is a table whose columns do not fit on a phone: name above field. */
  .swagger-ui .opblock-section-request-body tr.parameters,
  .swagger-ui .opblock-section-request-body tr.parameters > td,
  .swagger-ui .parameters-container tr[data-param-name],
  .swagger-ui .parameters-container tr[data-param-name] > td {display: block; width: auto; max-width: 100%}
  .swagger-ui .opblock-section-request-body table,
  .swagger-ui .opblock-section-request-body tbody,
  .swagger-ui .parameters-container table,
  .swagger-ui .parameters-container tbody {display: block; width: auto}
  .swagger-ui .parameters-col_description input,
  .swagger-ui .parameters-col_description select,
  .swagger-ui .parameters-col_description textarea {max-width: 100%; min-width: 0; box-sizing: border-box}
  .swagger-ui .opblock-section-header {flex-wrap: wrap}
  .swagger-ui .opblock .tab-header .tab-item.active h4 span::after {display: none}
  .swagger-ui .response-col_links {display: none}
  .swagger-ui .opblock-section-header .btn {min-width: 0; padding: 5px 12px}
  .swagger-ui .renderedMarkdown {overflow-wrap: anywhere}
}
</style>"""
"""Swagger UI is made for wide screens."""


def install(app: FastAPI) -> None:
    assets = Path(str(files("fastapi_offline"))) / "static"
    app.mount(ASSETS_URL, StaticFiles(directory=assets), name="docs-assets")
    app.add_api_route("/docs", _swagger, include_in_schema=False)
    made = app.openapi
    app.openapi = lambda: _corrected(made())  # type: ignore[method-assign]  # the way FastAPI documents


def _corrected(schema: dict[str, Any]) -> dict[str, Any]:
    """FastAPI promises a 422 where ``web.errors`` answers 400, and leaves out whatever is null in an example."""
    for methods in schema["paths"].values():
        for route in methods.values():
            route["responses"].pop("422", None)
            for response in route["responses"].values():
                for content in response.get("content", {}).values():
                    if "example" in content:
                        content["example"] = _with_nulls(content["example"], content.get("schema", {}))
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


def _with_nulls(example: Any, schema: dict[str, Any]) -> Any:
    """``example`` with null for what ``schema`` (of several, the first) says is always there."""
    schema = schema.get("anyOf", [schema])[0]
    if isinstance(example, list):
        return [_with_nulls(each, schema.get("items", {})) for each in example]
    if not isinstance(example, dict):
        return example
    names = dict.fromkeys([*schema.get("required", []), *example])
    inner = schema.get("properties", {})
    return {name: _with_nulls(example.get(name), inner.get(name, {})) for name in names}


async def _swagger() -> HTMLResponse:
    """Addresses are relative, so that the page also works below a path of a reverse proxy."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Kikitori API",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
        swagger_ui_parameters={"persistAuthorization": True, "tryItOutEnabled": True},
    )
    return HTMLResponse(bytes(page.body).replace(b"</head>", f"{NARROW}</head>".encode(), 1))
