"""The page as one HTML file: no outside address, and a policy that forbids the browser to ask for any."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from greenedge import __version__
from greenedge.errors import printable
from greenedge.reporting.blocks import Lines, Table
from greenedge.reporting.page.sections import Page

_TEMPLATE, _STYLE, _SCRIPT = "report.html.j2", "report.css", "report.js"


def render_page(page: Page) -> str:
    """The HTML of a page. Every text is escaped, so that a class named `<script>` is shown as that."""
    style, script = _resource(_STYLE), _resource(_SCRIPT)
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            page=page,
            version=__version__,
            style=Markup(style),
            script=Markup(script),
            security=(
                f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
                "base-uri 'none'; form-action 'none'"
            ),
        )
    )


def script_json(value: Any) -> Markup:
    """JSON that stands in a script tag: no `<` is left that could end the tag, or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["script_json"] = script_json
    environment.filters["numeric"] = _numeric_columns
    environment.tests["table"] = lambda block: isinstance(block, Table)
    environment.tests["lines"] = lambda block: isinstance(block, Lines)
    return environment


def _numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers, to be aligned to the right."""
    columns: Sequence[tuple[object, ...]] = list(zip(*table.rows, strict=True)) or [()] * len(table.headers)
    return [all(str(cell)[:1].isdigit() or str(cell)[:1] in "-+." for cell in each) for each in columns]


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"
