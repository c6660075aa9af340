"""What the README says of results is what the results say, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXCERPT = re.compile(r"<!-- from (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)\)")


def test_its_tables_are_those_of_the_reports() -> None:
    excerpts = EXCERPT.findall(README)
    assert len(excerpts) == README.count("<!-- from ") >= 1
    for name, text in excerpts:
        report = (ROOT / name).read_text(encoding="utf-8").splitlines()
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len(rows) > 3, name
        missing = [row for row in rows if row not in report]
        assert not missing, f"{name} does not say {missing[0]}"


def test_what_it_links_to_is_there() -> None:
    links = set(LINK.findall(README))
    assert len(links) > 10
    assert not [link for link in links if not (ROOT / link).exists()]
