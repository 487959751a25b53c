"""Steps of browsing agents: what the calls of many differently named tools search, open, find or answer.

A message answers too, where it marks its answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.types import Tool
from pivot.verify.swe_tools import bare_name
from pivot.verify.urls import is_url
from pivot.verify.words import word_set

SEARCH, OPEN, FIND, ANSWER, OTHER = "search", "open", "find", "answer", "other"
_NAMES: Mapping[str, frozenset[str]] = {
    SEARCH: word_set(
        """
        search web_search google search_google google_search bing_search bing brave_search brave_web_search
        duckduckgo_search ddg_search tavily_search serper_search serpapi_search internet_search search_web search_engine
        query wiki_search wikipedia_search search_wikipedia retrieve retrieval local_search search_documents search_docs
        search_corpus search_query exa_search online_search scholar_search google_scholar
        """
    ),
    OPEN: word_set(
        """
        open visit visit_page visit_webpage visit_url fetch fetch_url fetch_page open_url open_page open_document
        open_link goto go_to_url navigate navigate_to browse browse_page browse_url read_page read_url read_webpage
        get_page get_url get_document get_contents get_content scrape scrape_url click extract extract_content web_fetch
        view_page crawl crawl_url url_reader jina_reader web_browse tavily_extract
        """
    ),
    FIND: word_set("find find_in_page find_on_page find_on_page_ctrl_f page_find search_in_page search_page ctrl_f"),
    ANSWER: word_set(
        "answer final_answer submit_answer give_answer submit finish done complete return_answer evidence quote cite"
    ),
}  # fmt: skip
_CATEGORY = {name: category for category, names in _NAMES.items() for name in names}

# Of each list the first key that is there is read; a further one is an argument like any other: it must be the same.
_QUERIES = tuple("query queries q search_query search_queries search_term keywords question text input".split())
_URLS = tuple("url urls link href uri page_url target_url".split())
_DOCUMENTS = tuple("id doc_id docid document_id documents_id doc_ids docids ref_id page_id link_id title index".split())
_PATTERNS = tuple("pattern search_string needle keyword query text string".split())
_GOALS = tuple("goal query question purpose objective prompt instruction instructions intent focus".split())
_ANSWERS = tuple("answer final_answer exact_answer result response evidence quote text content".split())
_EVIDENCE = tuple("evidence evidences sources citations references docids doc_ids documents urls quotes quote".split())
# What is said for the record, and how many results are wanted.
_ASIDE = word_set("reason reasoning thought thoughts explanation rationale justification confidence timeout timeout_s")
_COUNTS = word_set("num num_results n_results max_results results limit count k top_k topk topn top_n")
_FIRST_LINES = tuple("loc start_line line_start lineno line offset start_index".split())
_LAST_LINES = ("end_line", "line_end")
_LENGTHS = tuple("num_lines limit length max_length max_chars".split())
_PLACES = ("cursor", "page", "page_number", "page_no", *_FIRST_LINES, *_LAST_LINES, *_LENGTHS)
# What it means to leave an argument out, where the schema does not say.
_UNSAID = {
    "id": -1, "cursor": -1, "page": 1, "page_number": 1, "page_no": 1, "loc": -1, "offset": 0, "start_index": 0,
    "start_line": 1, "num_lines": -1,
}  # fmt: skip
_MARKED = re.compile(
    r"(?im)^[ \t*#>_-]{0,8}(?:the |my )?(?:(?:exact|final|short|correct) )?answer[ \t*_]{0,4}"
    r"(?:is\b[ \t]{0,4}:?|[:=]|$)[\s*_]{0,8}(\S[^\n]{0,400})"
)
_BOXED = re.compile(r"\\boxed\{([^{}]{1,400})\}")
_CLOSING = re.compile(r"[\s(,;*_]{0,8}\bconfidence(?: level| score)?[\s*_]{0,4}[:=].*", re.I | re.S)
_MOST = 16
_LARGEST = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a browsing agent.

    Attributes:
        name: The tool's bare name.
        category: `search`, `open`, `find`, `answer`, or `other` for a tool that no list names.
        queries: What is searched for.
        urls: The pages that are opened, searched or given as evidence, by address.
        documents: The same, by id or title.
        places: Which page of results or lines: numbers that are not the default.
        window: First line and number of lines, or characters, where both are known.
        text: What is looked for in a page, or the answer.
        rest: All other arguments that count, as JSON with sorted keys.
    """

    name: str
    category: str
    queries: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    places: Mapping[str, int]
    window: tuple[int, int] | None = None
    text: str = ""
    rest: str

    def unplaced(self) -> dict[str, int]:
        """The places that are not the window."""
        return {
            key: value
            for key, value in self.places.items()
            if key not in (*_FIRST_LINES, *_LAST_LINES, *_LENGTHS)
        }  # fmt: skip


def defaults_of(tools: Sequence[Tool]) -> dict[str, dict[str, Any]]:
    """The defaults that the schemas of tools give, by bare name; a tool without any is there too."""
    found: dict[str, dict[str, Any]] = {}
    for tool in tools:
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            continue
        parameters = function.get("parameters")
        properties = parameters.get("properties") if isinstance(parameters, Mapping) else None
        found[bare_name(function["name"])] = {
            key: node["default"]
            for key, node in (properties.items() if isinstance(properties, Mapping) else ())
            if isinstance(node, Mapping) and "default" in node
        }
    return found


def read_step(name: str, arguments: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> Step:
    """The step that a call with decoded arguments is, given what `defaults_of` says."""
    bare = bare_name(name)
    category = _CATEGORY.get(bare) or _CATEGORY.get(bare.replace("_", ""), OTHER)
    left = _said(defaults.get(bare, {}), arguments)
    if category == OPEN and "query" in left and not any(key in left for key in (*_URLS, *_DOCUMENTS, *_PLACES)):
        category = SEARCH
    everything = dict(left)
    if category == SEARCH:
        queries = _take(left, _QUERIES)
        if queries:
            return Step(name=bare, category=SEARCH, queries=queries, places={}, rest=_json(left, _ASIDE | _COUNTS))
    elif category == ANSWER:
        answer = " ".join(_take(left, _ANSWERS))
        if answer:
            urls, documents = _pages(_take(left, _EVIDENCE))
            return Step(
                name=bare, category=ANSWER, text=answer, urls=urls, documents=documents, places={},
                rest=_json(left, _ASIDE),
            )  # fmt: skip
    elif category != OTHER:
        urls, documents = _pages((*_take(left, _URLS), *_take(left, _DOCUMENTS)))
        places = {key: int(left.pop(key)) for key in _PLACES if _is_place(left.get(key))}
        return Step(
            name=bare, category=category, urls=urls, documents=documents, places=places, window=_window(places),
            text=" ".join(_take(left, _PATTERNS if category == FIND else _GOALS)), rest=_json(left, _ASIDE),
        )  # fmt: skip
    return Step(name=bare, category=OTHER, places={}, rest=_json(everything, frozenset()))


def _said(defaults: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments with defaults filled in, without those that say nothing; keys in one order and lower case."""
    filled = {key.lower(): value for key, value in sorted({**defaults, **arguments}.items())}
    return {
        key: value
        for key, value in filled.items()
        if value is not None and value not in ("", [], {}) and (isinstance(value, bool) or value != _UNSAID.get(key))
    }


def _take(arguments: dict[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    """Take out the texts under the first of the keys that is there; none, and left there, if they cannot be read."""
    for key in keys:
        if key not in arguments:
            continue
        value = arguments[key]
        items = value if isinstance(value, list) else [value]
        found = [text for item in items[: _MOST + 1] if (text := _text(item, keys)) is not None]
        if len(found) != len(items) or len(found) > _MOST:
            return ()
        del arguments[key]
        return tuple(found)
    return ()


def _text(item: Any, keys: Sequence[str]) -> str | None:
    """A text or whole number, or an object that holds nothing else."""
    if isinstance(item, dict) and len(item) == 1:
        item = next((item[key] for key in keys if key in item), None)
    if isinstance(item, int) and not isinstance(item, bool) and abs(item) < _LARGEST:
        return str(item)
    return item if isinstance(item, str) and item.strip() else None


def _pages(texts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(text for text in texts if is_url(text)), tuple(text for text in texts if not is_url(text))


def _is_place(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdecimal() and len(value) < len(str(_LARGEST))
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def _window(places: Mapping[str, int]) -> tuple[int, int] | None:
    """First and number of lines, or characters."""
    last = next((places[key] for key in _LAST_LINES if key in places), None)
    first = next((places[key] for key in _FIRST_LINES if key in places), 0 if last is None else 1)
    length = next((places[key] for key in _LENGTHS if key in places), 0) if last is None else last - first + 1
    return (first, length) if length > 0 else None


def _json(arguments: Mapping[str, Any], without: frozenset[str]) -> str:
    return json.dumps({key: value for key, value in arguments.items() if key not in without}, sort_keys=True)


def marked_answer(text: str) -> str | None:
    """The last answer that a message marks as one: `Exact Answer: …`, `The answer is …`, or a box."""
    tail = text[-20_000:]
    found = [*_MARKED.finditer(tail), *_BOXED.finditer(tail)]
    if not found:
        return None
    last = max(found, key=lambda match: match.start())
    answer = _CLOSING.sub("", last[1]).strip(" \t*_`\"'.")
    return answer or None
