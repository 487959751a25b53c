"""One form for values of a known kind that can be written in several ways: phones, amounts, paths, web addresses.

Every function takes a text and gives its one form, or the text as it is where it is not of that kind.
"""

import posixpath
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

_LONGEST = 4_096
_PHONE = re.compile(r"(\+|00(?=[ (]?[1-9]))?[ (]{0,2}\d[\d ().-]{5,28}\d")
_DECIMAL = re.compile(r"([+-]?)(\d{1,3}(?:,\d{3}){1,8}|\d{1,30})(?:\.(\d{1,30}))?")
_HEX_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_SHORT_COLOUR = 4
_DURATION = re.compile(
    r"P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,6})D)?"
    r"(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,9})(?:\.0{1,9})?S)?)?"
)
_SECONDS = (7 * 86_400, 86_400, 3_600, 60, 1)
_NO_PLAIN_PATH = re.compile(r"://|[*?\[\]{}\\$~]")
_MAIL = re.compile(r"([^\s@<>\"]{1,64})@([^\s@<>\"]{1,255})")
_PORTS = {"http": 80, "https": 443}
# The short forms that post offices print, with what they stand for.
_STREETS = {
    "st": "street", "ave": "avenue", "av": "avenue", "rd": "road", "blvd": "boulevard", "dr": "drive", "ln": "lane",
    "ct": "court", "pl": "place", "sq": "square", "hwy": "highway", "pkwy": "parkway", "ter": "terrace",
    "cir": "circle", "trl": "trail",
}  # fmt: skip
# A number, a name and at the end of that part its kind: in `12 St. John Road` St. is a saint.
_STREET = re.compile(rf"(?i)(\d[\w-]{{0,9}} [^,\n]{{1,80}}? )({'|'.join(_STREETS)})\b\.?(?=\s*(?:,|$))")


def phone(text: str) -> str:
    """Digits, with a plus where the country is dialled."""
    found = _PHONE.fullmatch(text)
    if not found:
        return text
    prefix = found[1] or ""
    return ("+" if prefix else "") + "".join(char for char in text[len(prefix) :] if char in "0123456789")


def decimal(text: str) -> str:
    """An amount without separators of thousands and zeros that say nothing."""
    found = _DECIMAL.fullmatch(text)
    if not found:
        return text
    whole, part = found[2].replace(",", "").lstrip("0") or "0", (found[3] or "").rstrip("0")
    amount = f"{whole}.{part}" if part else whole
    return f"-{amount}" if found[1] == "-" and Decimal(amount) else amount


def colour(text: str) -> str:
    """A hex colour in lower case, with two digits a channel."""
    if not _HEX_COLOUR.fullmatch(text):
        return text
    low = text.lower()
    return "#" + "".join(char * 2 for char in low[1:]) if len(low) == _SHORT_COLOUR else low


def duration(text: str) -> str:
    """An ISO 8601 duration in months and seconds: a month has no length of its own, a day has 24 hours."""
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()) or text.endswith("T"):
        return text
    years, months, *rest = (int(part or 0) for part in found.groups())
    seconds = sum(count * unit for count, unit in zip(rest, _SECONDS, strict=True))
    return f"P{12 * years + months}M{seconds}S"


def file_path(text: str) -> str:
    """A path without `.`, `..` and doubled slashes; a final slash stays."""
    if not text or len(text) > _LONGEST or text.startswith("//") or _NO_PLAIN_PATH.search(text):
        return text
    plain = posixpath.normpath(text)
    return plain + "/" if text.endswith("/") and plain != "/" else plain


def folder_path(text: str) -> str:
    """A path of a folder, of which a final slash says nothing."""
    plain = file_path(text)
    return plain.rstrip("/") or plain


def web_address(text: str) -> str:
    """An address with what RFC 3986 says is one: case of scheme and host, the default port, dot segments."""
    if len(text) > _LONGEST or any(char.isspace() for char in text):
        return text
    try:
        parts = urlsplit(text)
        host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
    except ValueError:  # a port that is no number, brackets that do not close
        return text
    if scheme not in _PORTS or not host:
        return text
    user = parts.netloc.rpartition("@")[0]
    place = f"[{host}]" if ":" in host else host
    netloc = (f"{user}@" if user else "") + place + ("" if port in (None, _PORTS[scheme]) else f":{port}")
    return urlunsplit((scheme, netloc, _without_dots(parts.path) or "/", parts.query, parts.fragment))


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")
    for segment in segments:
        if segment == ".." and len(kept) > 1:
            kept.pop()
        elif segment not in (".", ".."):
            kept.append(segment)
    return "/".join(kept) + ("/" if segments[-1] in (".", "..") and kept[-1:] != [""] else "")


def mail_address(text: str) -> str:
    """An address with its domain in lower case; of the part before it case may count."""
    found = _MAIL.fullmatch(text)
    return f"{found[1]}@{found[2].lower()}" if found else text


def street(text: str) -> str:
    """An address with its streets' kinds in full."""
    if len(text) > _LONGEST or not any(char.isdigit() for char in text):
        return text
    return _STREET.sub(lambda found: found[1] + _STREETS[found[2].lower()], text)


# Kind of text: the switch that allows its form, and the form.
FORMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "phone": ("phone_form", phone),
    "decimal": ("decimal_form", decimal),
    "colour": ("colour_form", colour),
    "duration": ("duration_form", duration),
    "path": ("path_form", file_path),
    "folder": ("path_form", folder_path),
    "url": ("url_form", web_address),
    "email": ("email_form", mail_address),
    "address": ("address_form", street),
}
