"""Steps of browsing agents: what the calls of many differently named tools search, open, find or answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.verify.swe_tools import bare_name
from pivot.verify.urls import is_url
from pivot.verify.words import word_set

SEARCH, OPEN, FIND, ANSWER, OTHER = "search", "open", "find", "answer", "other"
_NAMES: Mapping[str, frozenset[str]] = {
    SEARCH: word_set(
        """
        search web_search google_search search_google google bing_search bing brave_search brave_web_search
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
        view_page crawl crawl_url url_reader jina_reader web_browse
        """
    ),
    FIND: word_set("find find_in_page find_on_page find_on_page_ctrl_f page_find search_in_page search_page ctrl_f"),
    ANSWER: word_set(
        "answer final_answer submit_answer give_answer submit finish done complete return_answer evidence quote cite"
    ),
}  # fmt: skip
_CATEGORY = {name: category for category, names in _NAMES.items() for name in names}

_QUERIES = (
    "query",
    "queries",
    "q",
    "search_query",
    "search_queries",
    "search_term",
    "keywords",
    "question",
    "text",
    "input",
)
_URLS = ("url", "urls", "link", "href", "uri", "page_url", "target_url")
_DOCUMENTS = ("id", "doc_id", "docid", "document_id", "documents_id", "ref_id", "page_id", "link_id", "title", "index")
_PATTERNS = ("pattern", "search_string", "needle", "keyword", "query", "text", "string")
_ANSWERS = ("answer", "final_answer", "exact_answer", "result", "response", "evidence", "quote", "text", "content")
_PLACES = (
    "cursor",
    "page",
    "page_number",
    "page_no",
    "loc",
    "lineno",
    "start_line",
    "end_line",
    "offset",
    "num_lines",
    "line",
)
_STARTS = {"cursor": -1, "page": 1, "page_number": 1, "page_no": 1, "loc": -1, "offset": 0, "num_lines": -1}
_MOST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a browsing agent.

    Attributes:
        name: The tool's bare name.
        category: `search`, `open`, `find`, `answer`, or `other` for a tool that no list names.
        queries: What is searched for.
        urls: The pages that are opened or searched, by address.
        documents: The same, by id or title.
        places: Where in them: page numbers and lines, without those that are the default.
        pattern: What is looked for in a page.
        answer: The answer, or the evidence, that is given.
        arguments: All arguments.
    """

    name: str
    category: str
    queries: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    places: tuple[tuple[str, int], ...] = ()
    pattern: str = ""
    answer: str = ""
    arguments: Mapping[str, Any]


def read_step(name: str, arguments: Mapping[str, Any]) -> Step:
    """The step that a call with decoded arguments is."""
    bare = bare_name(name)
    category = _CATEGORY.get(bare) or _CATEGORY.get(bare.replace("_", ""), OTHER)
    plain = {key.lower(): value for key, value in arguments.items()}
    if category == OPEN and not any(key in plain for key in (*_URLS, *_DOCUMENTS, *_PLACES)) and "query" in plain:
        category = SEARCH
    if category == SEARCH:
        queries = _texts(plain, _QUERIES)
        return Step(name=bare, category=category if queries else OTHER, queries=queries, arguments=arguments)
    if category == ANSWER:
        answer = " ".join(_texts(plain, _ANSWERS))
        return Step(name=bare, category=category if answer else OTHER, answer=answer, arguments=arguments)
    if category == OTHER:
        return Step(name=bare, category=category, arguments=arguments)
    documents = _texts(plain, _DOCUMENTS)
    return Step(
        name=bare,
        category=category,
        urls=(*_texts(plain, _URLS), *(text for text in documents if is_url(text))),
        documents=tuple(text for text in documents if not is_url(text)),
        places=_places(plain),
        pattern=" ".join(_texts(plain, _PATTERNS)) if category == FIND else "",
        arguments=arguments,
    )


def _texts(arguments: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    """The texts under the first of the keys that is there; of lists all, of objects in them what the keys name."""
    for key in keys:
        if arguments.get(key) is None:
            continue
        value = arguments[key]
        found = []
        for item in (value if isinstance(value, list) else [value])[:_MOST]:
            inner = (
                next((item[key] for key in keys if isinstance(item.get(key), str)), None)
                if isinstance(item, dict)
                else item
            )
            if isinstance(inner, str | int) and not isinstance(inner, bool):
                found.append(str(inner) if isinstance(inner, str) or abs(inner) < 10**12 else "")
        return tuple(text for text in found if text.strip())
    return ()


def _places(arguments: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    found = []
    for key in _PLACES:
        value = arguments.get(key)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value != _STARTS.get(key):
            found.append((key, value))
    return tuple(found)
