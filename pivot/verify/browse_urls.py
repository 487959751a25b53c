"""Addresses of web pages: when do two lead to the same page?

The order of escapes, the case of the host and dot segments never count. Whatever else may differ has a switch. The
case of a path counts.
"""

from collections.abc import Set
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, urlsplit

from w3lib.url import canonicalize_url

from pivot.trajectory.strict_json import is_unicode

_LONGEST = 2048
_MOST_PARAMETERS = 64
_SCHEMES = {"http": "80", "https": "443"}
_TRACKING = frozenset(
    """
    gclid gclsrc dclid gbraid wbraid fbclid msclkid yclid twclid ttclid igshid igsh mc_cid mc_eid mkt_tok ref_src ref_url
    _hsenc _hsmi _ga _gl oly_anon_id oly_enc_id vero_id wickedid s_cid ncid cmpid smid srsltid
    """.split()
)
SWITCHES = frozenset("url_scheme url_www url_slash url_port url_fragment url_tracking url_order".split())

Form = tuple[object, ...]


def is_address(text: str) -> bool:
    """Whether a text is a web address, with or without its scheme."""
    head = text.strip()[:_LONGEST]
    if any(char.isspace() for char in head):
        return False
    if "://" in head:
        return head.partition("://")[0].lower() in _SCHEMES
    host = head.partition("/")[0].partition("?")[0]
    name, dot, top = host.partition(":")[0].rpartition(".")
    return bool(name and dot) and top.isalpha() and len(top) >= 2 and all(c.isalnum() or c in ".-" for c in name)


def same_address(one: str, other: str, on: Set[str]) -> tuple[str, ...] | None:
    """The switches that make two addresses one, sorted; None where they differ. Symmetric.

    Args:
        one: An address.
        other: Another one.
        on: Names of the switches that are on; others than `SWITCHES` do not matter.
    """
    if one.strip() == other.strip():
        return ()
    needed = set(on & SWITCHES)
    if not _same(one, other, frozenset(needed)):
        return None
    for switch in sorted(needed):
        if _same(one, other, frozenset(needed - {switch})):
            needed.remove(switch)
    return tuple(sorted(needed))


def _same(one: str, other: str, on: frozenset[str]) -> bool:
    mine, theirs = _form(one, on), _form(other, on)
    return mine is not None and mine == theirs


@lru_cache(maxsize=512)
def _form(text: str, on: frozenset[str]) -> Form | None:
    """What two addresses of one page share; None for what is no address."""
    text = text.strip()
    if len(text) > _LONGEST or not is_unicode(text) or text.count("&") > _MOST_PARAMETERS:
        return None
    if "://" not in text:
        text = f"http://{text}"
    try:
        given = urlsplit(text)
        address = urlsplit(canonicalize_url(_cleaned(given, on), keep_blank_values=True, keep_fragments=True))
        host, port = address.hostname or "", address.port
    except ValueError:  # brackets or a port that make no sense, text that cannot be encoded
        return None
    if address.scheme not in _SCHEMES or not host:
        return None
    if "url_www" in on:
        host = host.removeprefix("www.")
    path = address.path or "/"
    if "url_slash" in on:
        path = path.rstrip("/")
    order = () if "url_order" in on else tuple(part for part in _cleaned_query(given.query, on).split("&"))
    scheme = "" if "url_scheme" in on else address.scheme
    shown = "" if port is None or ("url_port" in on and str(port) == _SCHEMES[address.scheme]) else str(port)
    return (
        scheme,
        address.username,
        host.rstrip("."),
        shown,
        path,
        address.query,
        order,
        _fragment(address.fragment, on),
    )


def _cleaned(given: SplitResult, on: Set[str]) -> str:
    return given._replace(query=_cleaned_query(given.query, on)).geturl()


def _cleaned_query(query: str, on: Set[str]) -> str:
    if "url_tracking" not in on:
        return query
    return "&".join(part for part in query.split("&") if part and not _is_tracking(part))


def _is_tracking(part: str) -> bool:
    name = next(iter(parse_qsl(part, keep_blank_values=True)), ("", ""))[0].lower()
    return name.startswith("utm_") or name in _TRACKING


def _fragment(fragment: str, on: Set[str]) -> str:
    """A fragment that names a place in a page is none of the page; one that begins like a path names a page."""
    return fragment if fragment.startswith(("/", "!")) or "url_fragment" not in on else ""
