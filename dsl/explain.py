"""Pages of the error codes: `errors/E0203.md`."""

from __future__ import annotations

from pathlib import Path

PAGES = Path(__file__).with_name("errors")


def codes() -> list[str]:
    """All codes that have a page."""
    return sorted(page.stem for page in PAGES.glob("*.md"))


def page(code: str) -> str:
    """The page of a code; KeyError where there is none."""
    try:
        return (PAGES / f"{code}.md").read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KeyError(code) from error


def title(code: str) -> str:
    """What the page's first line says: `# E0203: unknown setting`."""
    return page(code).partition("\n")[0].partition(": ")[2]
