"""The table of settings in docs/deployment.md, from the settings themselves: run this to bring it up to date."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic.fields import FieldInfo

from app.settings import Settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "deployment.md"
_PLACE = re.compile(r"(<!-- settings: .*? -->\n).*?(<!-- end -->)", re.DOTALL)


def page() -> str:
    """Return the page as it should be."""
    rows = [f"| `{variable(name)}` | {_default(field)} | {field.description} |" for name, field in fields().items()]
    table = "\n".join(["| variable | default | meaning |", "| --- | --- | --- |", *rows])
    return _PLACE.sub(lambda found: f"{found[1]}{table}\n{found[2]}", PAGE.read_text(encoding="utf-8"))


def fields() -> dict[str, FieldInfo]:
    """Return all settings by name."""
    return dict(Settings.model_fields)


def variable(name: str) -> str:
    """Return the variable of a setting."""
    return f"{Settings.model_config['env_prefix']}{name.upper()}"


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.default_factory is not None or value == "":
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    if isinstance(value, int) and value % 2**20 == 0 and value > 0:
        return f"`{value}` ({value // 2**30} GiB)" if value % 2**30 == 0 else f"`{value}` ({value // 2**20} MiB)"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
