"""The audit as one self-contained HTML page: no address to fetch, light, dark and on paper."""

from pathlib import Path

from ingest.files import write_text
from models.leakage.finding import VERDICTS, Audit

TEMPLATE = "audit.html.j2"


def write_page(path: Path, audit: Audit) -> None:
    """Write the page. All texts are escaped."""
    write_text(path, render_page(audit))


def render_page(audit: Audit) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("models.leakage", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(audit=audit, verdicts=VERDICTS)
