"""Links of README, CONTRIBUTING and docs lead somewhere, down to the heading; every page is in the menu."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
GENERATED = {DOCS / "reference" / "config.md", DOCS / "reference" / "commands.md"}  # by `make docs`


@pytest.mark.parametrize("page", [p for p in PAGES if p not in GENERATED], ids=lambda p: p.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() or target in GENERATED, f"{page.name}: {link}"
        if anchor and target not in GENERATED:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:")[1]
    listed = {DOCS / name for name in re.findall(r"([\w/-]+\.md)$", menu, re.M)}
    assert listed == {page for page in PAGES if DOCS in page.parents} | GENERATED


def test_decisions_are_numbered_and_quote_headings_of_the_lab_book() -> None:
    decisions = (DOCS / "decisions.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", decisions, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    headings = re.findall(r"^## [\d-]+ (.+)$", (DOCS / "lab-book.md").read_text(encoding="utf-8"), re.M)
    quoted = [q for told in re.findall(r"\((\"[^)]+\")\)", decisions) for q in re.findall(r'"([^"]+)"', told)]
    assert quoted and [q for q in quoted if not any(h.startswith(q) for h in headings)] == []


def test_headings_of_the_lab_book_that_code_and_tests_name_are_there() -> None:
    headings = re.findall(r"^## [\d-]+ (.+)$", (DOCS / "lab-book.md").read_text(encoding="utf-8"), re.M)
    folders = [ROOT / name for name in ("node", "swarm", "policies", "configs", "tests")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".toml")]
    named = [
        q for path in files for q in re.findall(r'lab-book\.md, "([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    assert named and [q for q in named if not any(heading.startswith(q) for heading in headings)] == []


def anchors(text: str) -> set[str]:
    """The ids that mkdocs gives to headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}
