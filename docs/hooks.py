"""What the site's pages are completed with when it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from greenedge.training.configs import build_schema

_CONFIG, _CONTRIBUTING = "<!-- config reference -->", "<!-- contributing -->"
_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts in the reference of the config's keys, read from its schema, and CONTRIBUTING.md with the site's links."""
    if _CONFIG in markdown:
        return markdown.replace(_CONFIG, config_reference())
    if _CONTRIBUTING in markdown:
        text = Path("CONTRIBUTING.md").read_text(encoding="utf-8").replace("docs/architecture.md", "architecture.md")
        return markdown.replace(_CONTRIBUTING, text)
    return markdown


def config_reference() -> str:
    """Tables of all keys with their types, defaults and meanings."""
    schema = build_schema()
    sections = [f"## `{name}`\n\n{_table(_resolved(section, schema), schema)}" for name, section in _keys(schema)]
    return "\n\n".join(sections)


def _keys(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(schema.get("properties", {}).items())


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    if not reference:
        return schema
    found = root
    for name in reference.removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def _table(section: dict[str, Any], root: dict[str, Any]) -> str:
    rows = _rows("", section, root)
    if not rows:
        return section.get("description", "")
    lines = ["| key | what it may be | default | meaning |", "|---|---|---|---|"]
    return "\n".join([*lines, *rows])


def _rows(prefix: str, section: dict[str, Any], root: dict[str, Any]) -> list[str]:
    rows = []
    for name, each in _keys(section):
        resolved = _resolved(each, root)
        default = f"`{_plain(resolved['default'])}`" if "default" in resolved else ""
        rows.append(
            f"| `{prefix}{name}` | {_kind(resolved, root)} | {default} | {_cell(resolved.get('description', ''))} |"
        )
        items = _resolved(resolved.get("items", {}), root)
        if "properties" in items:
            rows += _rows(f"{prefix}{name}[].", items, root)
    return rows


def _kind(schema: dict[str, Any], root: dict[str, Any]) -> str:
    schema = _resolved(schema, root)
    if "enum" in schema:
        return ", ".join(f"`{_plain(value)}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{_plain(schema['const'])}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = list(dict.fromkeys(_kind(each, root) for each in schema[key]))
            return " or ".join(kinds) if len(kinds) <= 4 else "a name, with its options"
    kind = schema.get("type", "anything")
    kinds = [kind] if isinstance(kind, str) else kind
    limits = [f"{word} {schema[key]}" for key, word in _LIMITS.items() if key in schema]
    return " ".join([" or ".join(kinds), ", ".join(limits)]).strip()


def _plain(value: Any) -> str:
    """A value as a config would spell it."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
