"""How a page becomes one HTML file: everything is inside it, plotly.js once, nothing is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs


def write_template(path: Path, template: str, **values: Any) -> None:
    """Fill in a template, which extends `evaluate/base.html.j2`, and write the page.

    :param template: its path below the package.
    :param values: its variables; text in them is escaped.
    :raises jinja2.UndefinedError: the template names a variable that is not given.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("freqai_lstm", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(plotly=Markup(get_plotlyjs()), **values)
    path.write_text(text, encoding="utf-8")
