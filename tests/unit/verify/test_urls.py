"""Web addresses: which lead to the same page, by which switch, and which texts are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.verify.urls import URL_SWITCHES, canonical_url, is_url

PAGE = "https://mills.example/report"
# (one, other, the switches that their equality needs)
SAME: list[tuple[str, str, set[str]]] = [
    (PAGE, "HTTPS://Mills.EXAMPLE/report", set()),
    (PAGE, "https://mills.example:443/report", set()),
    ("http://mills.example/report", "http://mills.example:80/report", set()),
    (PAGE, "mills.example/report", set()),
    (PAGE, " <https://mills.example/report> ", set()),
    (PAGE, "https://mills.example./report", set()),
    (PAGE, "https://mills.example/%72eport", set()),
    (PAGE + "?a=1&b=2", PAGE + "?b=2&a=1", set()),
    (PAGE + "?q=a+b", PAGE + "?q=a%20b", set()),
    (PAGE + "/Caf%C3%A9", PAGE + "/Caf\u00e9", set()),
    ("https://b\u00fccher.example/", "https://xn--bcher-kva.example/", set()),
    ("https://mills.example", "https://mills.example/", set()),
    (PAGE, "http://mills.example/report", {"url_scheme"}),
    (PAGE, "https://www.mills.example/report", {"url_www"}),
    (PAGE, "https://m.mills.example/report", {"url_www"}),
    ("https://en.wikipedia.org/wiki/Mill", "https://en.m.wikipedia.org/wiki/Mill", {"url_www"}),
    (PAGE, PAGE + "/", {"url_slash"}),
    (PAGE, PAGE + "/index.html", {"url_slash"}),
    ("https://mills.example/", "https://mills.example/index.php", {"url_slash"}),
    (PAGE, PAGE + "#tables", {"url_fragment"}),
    (PAGE, PAGE + "#:~:text=wheel", {"url_fragment"}),
    (PAGE, PAGE + "?utm_source=x&gclid=2", {"url_tracking"}),
    (PAGE + "?id=3", PAGE + "?fbclid=x&id=3&ref_src=y", {"url_tracking"}),
    (PAGE, "http://www.mills.example/report/?utm_medium=x#a", set(URL_SWITCHES)),
]
DIFFERENT = [
    (PAGE, "https://mills.example/Report"),
    (PAGE, "https://mills.example/report2"),
    (PAGE, "https://mills.example.net/report"),
    (PAGE, "https://old.mills.example/report"),
    (PAGE, "https://mills.example:8443/report"),
    (PAGE, "http://mills.example:443/report"),
    (PAGE, "ftp://mills.example/report"),
    (PAGE, "https://me@mills.example/report"),
    (PAGE, "https://mills.example@evil.example/report"),
    (PAGE, PAGE + "?id=3"),
    (PAGE + "?id=3", PAGE + "?id=4"),
    (PAGE + "?utm=1", PAGE),
    (PAGE + "#!/a", PAGE + "#!/b"),
    (PAGE + "#/a", PAGE),
    (PAGE + "/a%2Fb", PAGE + "/a/b"),
    (PAGE + "/index.html/x", PAGE + "/x"),
    ("https://www.com/", "https://com/"),
    ("https://m.co/", "https://co/"),
]
NONE = [
    "", "   ", "mill", "two words.example", "javascript:alert(1)", "data:text/html,<b>x</b>", "mailto:a@mills.example",
    "https://", "https:///report", "https://mills.example:99999/", "https://mills.example:port/", "https://[::1",
    "https://mills.example/\ud800", "https://mills.example/\x00", "1.5", "e.g", "https://" + "a" * 5_000 + ".example/",
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "needed"), SAME)
def test_addresses_of_one_page_are_equal_by_exactly_these_switches(one: str, other: str, needed: set[str]) -> None:
    def same(on: set[str]) -> bool:
        return canonical_url(one, on) == canonical_url(other, on) is not None

    assert canonical_url(one) == canonical_url(other)
    assert same(needed)
    for switch in needed:
        assert not same(set(URL_SWITCHES) - {switch})


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_addresses_of_other_pages_are_not(one: str, other: str) -> None:
    assert canonical_url(one) is not None
    assert canonical_url(one) != canonical_url(other)


@pytest.mark.parametrize("text", NONE)
def test_a_text_that_is_no_address_has_no_form(text: str) -> None:
    assert canonical_url(text) is None


def test_a_domain_is_an_address_and_a_sentence_is_not() -> None:
    assert is_url("mills.example/report?x=1")
    assert is_url(" https://mills.example ")
    assert not is_url("See mills.example")
    assert not is_url("doc-88a")
    assert not is_url("x" * 5_000 + ".example")


@given(st.text() | st.text(alphabet="htps:/.@?&=%[]!wm1a\u00fc").map(lambda text: "https://" + text))
def test_no_text_makes_it_raise_and_a_place_in_a_page_is_on_that_page(text: str) -> None:
    form = canonical_url(text)
    if form is not None and "#" not in text and text == text.strip(" <>\"'"):
        assert canonical_url(text + "#x") == form
        assert is_url(text)
