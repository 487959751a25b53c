"""Web addresses in a form in which two that lead to the same page are equal."""

import re
from collections.abc import Set
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode, urlsplit

from w3lib.url import canonicalize_url

from pivot.trajectory.strict_json import is_unicode

URL_SWITCHES = frozenset(("url_scheme", "url_www", "url_slash", "url_fragment", "url_tracking"))
_LONGEST = 4_096
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://")
_DOMAIN = re.compile(r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?::[0-9]{1,5})?(?=[/?#]|$)")
_WEB_PORTS = {"http": 80, "https": 443}
_TRACKING = re.compile(
    r"utm_\w{1,40}|[gdy]clid|fbclid|msclkid|gbraid|wbraid|mc_[ce]id|igshid|_ga|_gl|_hs(?:enc|mi)|ref_src|ref_url|srsltid"
    r"|spm|cmpid|s_cid|mkt_tok|vero_id|oly_(?:anon|enc)_id"
)
_INDEX = re.compile(r"/index\.(?:html?|php)$")
_SAME_SITE = re.compile(r"^(?:www|m|mobile)\.(?=[^.]+\.)|(?<=\w)\.m(?=\.[^.]+\.)")


def is_url(text: str) -> bool:
    """Whether a text is an address: with a scheme, or a domain with what may follow one."""
    text = text.strip()
    return len(text) <= _LONGEST and not any(char.isspace() or char < " " for char in text) and (
        _SCHEME.match(text) is not None or _DOMAIN.match(text) is not None
    )  # fmt: skip


def canonical_url(text: str, on: Set[str] = URL_SWITCHES) -> str | None:
    """The normal form of an address; None for what is none. Never raises.

    Case of scheme and host, default ports, the order of a query's parts and percent-encoding never count.

    Args:
        text: Untrusted.
        on: Of `url_scheme` (http is https), `url_www`, `url_slash` (a slash or index page at the end), `url_fragment`
            (where in the page) and `url_tracking` (parameters that only say how one came there).
    """
    text = text.strip().strip("<>\"'")
    if not is_url(text) or not is_unicode(text):
        return None
    if _SCHEME.match(text) is None:
        text = "https://" + text
    try:
        parts = urlsplit(_canonical(text))
        port, host = parts.port, (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    scheme, path, query, fragment = parts.scheme, parts.path, parts.query, parts.fragment
    if not host:
        return None
    user = parts.netloc.rpartition("@")[0]
    place = "" if port is None or _WEB_PORTS.get(scheme) == port else f":{port}"
    if "url_scheme" in on and scheme in _WEB_PORTS:
        scheme = "web"
    if "url_www" in on:
        host = _SAME_SITE.sub("", host)
    if "url_slash" in on:
        path = _INDEX.sub("/", path).rstrip("/")
    if "url_tracking" in on:
        query = urlencode(
            [pair for pair in parse_qsl(query, keep_blank_values=True) if not _TRACKING.fullmatch(pair[0])]
        )
    if "url_fragment" in on and not fragment.startswith(("!", "/")):  # those are pages of their own
        fragment = ""
    return f"{scheme}://{user and user + '@'}{host}{place}{path or '/'}?{query}#{fragment}"


@lru_cache(maxsize=256)
def _canonical(text: str) -> str:
    return str(canonicalize_url(text, keep_fragments=True))
