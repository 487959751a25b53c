"""The page: its numbers, and that no text of a run becomes markup."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.report import ReportData, write_report
from pivot.report.page import MOST_CHARACTERS, render, shortened
from tests.report_sample import report

HOSTILE = (
    "</title></style></pre><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\"' onload='alert(1) {{7*7}} {%raw%} \x00\x1b[31m\ud800\u202e"
)


class Page(HTMLParser):
    """Tags, attributes and text as a browser's parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_stays_text() -> None:
    html = render(report(HOSTILE))
    html.encode("utf-8")  # the lone surrogate is gone
    page, harmless = Page(html), Page(render(report("harmless")))
    assert page.tags == harmless.tags
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "{{7*7}} {%raw%}" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert not {"\x00", "\x1b", "\u202e"} & set(html)


def test_nothing_is_fetched() -> None:
    page = Page(render(report("x")))
    links = [value for name, value in page.attributes if name in ("src", "href", "action", "srcset", "data")]
    assert links
    assert all(value and (value.startswith("#") or value == "data:,") for value in links)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in page.attributes


def test_numbers_on_the_page() -> None:
    text = Page(render(report("x"))).text
    assert "31.0 % (25.0 to 37.7), 62/200" in text
    assert "51.0 % (44.1 to 57.8), 102/200" in text
    assert "+20.0 (+10.4 to +29.1)" in text
    assert "33.3 % (6.1 to 79.2), 1/3" in text  # one of three candidates is a pivot
    assert "Turn 2 of 4, candidate 0123456789ab: 1 of 3 right" in " ".join(text.split())


def test_every_svg_and_table_says_what_it_is() -> None:
    page = Page(render(report("x")))
    assert page.tags.count("svg") == 3
    assert page.tags.count("desc") == 3
    assert page.tags.count("caption") == page.tags.count("table")
    assert page.tags.count("h1") == 1


def test_empty_run_says_so() -> None:
    text = Page(render(ReportData("nothing yet"))).text
    for sentence in (
        "Nothing has been evaluated.",
        "No candidate has been profiled.",
        "No training step has been logged.",
        "No example was given.",
        "No time was recorded.",
    ):
        assert sentence in text


def test_long_text_is_cut_and_says_so() -> None:
    assert shortened("a" * MOST_CHARACTERS) == "a" * MOST_CHARACTERS
    assert shortened("a" * MOST_CHARACTERS + "b" * 1234) == "a" * MOST_CHARACTERS + "\n[1,234 more characters]"
    cut = shortened("b" * 5 + "a" * MOST_CHARACTERS, tail=True)
    assert cut == "[5 characters before this]\n" + "a" * MOST_CHARACTERS


def test_written_whole(tmp_path: Path) -> None:
    path = write_report(tmp_path / "a" / "report", report(HOSTILE))
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [entry.name for entry in path.parent.iterdir()] == ["index.html"]


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"index\.html: .*; name a directory that can be written"):
        write_report(tmp_path / "file" / "report", ReportData("x"))
