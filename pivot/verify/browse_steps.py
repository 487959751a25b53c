"""A browsing agent's call as a step: what it looks for, or which page, where in it, or what it answers.

Agents name the same tools in many ways; the tables below list the names and argument keys of the well-known ones.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.strict_json import decode_object
from pivot.trajectory.types import ToolCall
from pivot.verify.words import word_set

SEARCH, OPEN, FIND, ANSWER, EVIDENCE = "search", "open", "find", "answer", "evidence"
_NAMES = {
    SEARCH: """
        search web_search websearch search_web google google_search search_google bing bing_search brave_search
        duckduckgo duckduckgo_search ddg_search tavily tavily_search serper_search serp_search exa_search internet_search
        search_internet online_search search_engine search_query query query_search searx search_documents document_search
        search_corpus retrieve retrieval local_search search_local knowledge_search browse_search batch_search
        wikipedia_search search_wikipedia wiki_search scholar scholar_search google_scholar search_scholar news_search
        search_news image_search search_images
        """,
    OPEN: """
        open open_url open_page open_link open_result open_document visit visit_url visit_page visit_webpage visit_website
        fetch fetch_url fetch_page fetch_webpage web_fetch get get_url get_page get_webpage get_document get_doc get_content
        get_contents get_page_content read read_url read_page read_webpage read_document read_doc browse browse_page
        browse_url browse_webpage browser goto go_to go_to_url goto_url navigate navigate_to click click_link click_result
        scrape scrape_url scrape_webpage crawl crawl_url crawl_page extract extract_content load_page load_url web_browse
        web_reader jina_reader url_reader access
        """,
    FIND: """
        find find_in_page find_on_page find_text find_in_document search_page search_in_page search_text page_search ctrl_f
        find_on_page_ctrl_f find_string find_pattern grep_page
        """,
    ANSWER: """
        answer final_answer submit_answer give_answer provide_answer return_answer report_answer finish finish_task submit
        done complete finalize exact_answer conclude
        """,
    EVIDENCE: """
        evidence add_evidence submit_evidence record_evidence save_evidence extract_evidence cite citation add_citation
        quote add_quote save_quote take_note add_note
        """,
}
_KINDS = {name: kind for kind, names in _NAMES.items() for name in names.split()}
# Searches that look at something else than the web.
_CORPORA = ("wiki", "scholar", "news", "image", "local", "document", "corpus")
_LONGEST_NAME = 120
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_QUERIES = "query queries q search_query search_queries keywords keyword search_term search_terms question text input term".split()
_URLS = "url urls link links uri href address webpage web_page page_url website".split()
_IDS = "id ids doc_id docid document_id doc_ids docids page_id link_id result_id result ref index element_id element selector".split()
_PHRASES = "pattern text query keyword keywords string term phrase search_string search_term needle find".split()
_ANSWERS = "answer final_answer exact_answer answers final response result content text message value output".split()
_QUOTES = "quote evidence text passage content snippet note excerpt quotes facts".split()
# Change how much comes back, or say why: not what is looked for.
_AMOUNTS = word_set(
    "num num_results n k top_k topk topn top_n count limit max_results n_results size result_count max_tokens results"
)
_REMARKS = word_set(
    "goal purpose reason thought thoughts explanation reasoning rationale justification confidence intent prompt "
    "instruction description summary"
)
_PLACES = word_set("loc num_lines start_line end_line line line_start line_end lines start end offset view_range")
_PAGES = word_set("page page_number page_num pn")
_MOST_TEXTS = 16
_WINDOW = 100
_UNSET = (None, "", -1, [], {})


@dataclass(frozen=True, slots=True)
class Step:
    """One call, read.

    Attributes:
        name: The tool's name without its name space.
        kind: One of the kinds.
        texts: Queries, a phrase to find, an answer, or quoted evidence.
        urls: Pages by address.
        ids: Pages, results or links by id, as text.
        cursor: The page in the browser's history.
        page: The page of results, or of a document.
        window: First and last line that is shown; None for where a page begins.
        amounts: How much is to come back.
        remarks: What the call says about itself.
        rest: Other arguments.
    """

    name: str
    kind: str
    texts: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    cursor: str = ""
    page: str = "1"
    window: tuple[int, int] | None = None
    amounts: Mapping[str, Any] | None = None
    remarks: Mapping[str, Any] | None = None
    rest: Mapping[str, Any] | None = None


def bare_name(name: str) -> str:
    """A tool's name without name spaces, in lower case with underscores: `browser.openUrl` is `open_url`."""
    last = re.split(r"__|[./:]", name[-_LONGEST_NAME:].rstrip("_./:"))[-1]
    return _CAMEL.sub("_", last).replace("-", "_").lower()


def kind_of(name: str) -> str:
    """What a tool does; empty for one that no list names."""
    return _KINDS.get(bare_name(name), "")


def corpus_of(name: str) -> str:
    """What a search looks at, where its name says that it is not the web."""
    return next((corpus for corpus in _CORPORA if corpus in bare_name(name)), "")


def read_call(call: ToolCall) -> Step | None:
    """The step that a call takes, None for a tool that no list names; raises `BadJson` for what is no JSON object."""
    kind = kind_of(call.name)
    if not kind:
        return None
    given = decode_object(call.arguments if call.arguments.strip() else "{}")
    arguments = {
        key: value
        for key, value in given.items()
        if not any(value is u or value == u for u in _UNSET if value is not False)
    }
    taken: set[str] = set()
    texts = _texts(arguments, _text_keys(kind), taken)
    urls = _texts(arguments, _URLS, taken)
    ids = _texts(arguments, [key for key in _IDS if key not in taken], taken)
    addresses = tuple(text for text in ids if "://" in text)
    cursor = _texts(arguments, ["cursor"], taken)
    page = _texts(arguments, sorted(_PAGES), taken)
    others = {key: value for key, value in arguments.items() if key not in taken}
    window = _window(others)
    others = {key: value for key, value in others.items() if key not in _PLACES or (window is None and value != 0)}
    return Step(
        bare_name(call.name), kind, texts, (*urls, *addresses), tuple(text for text in ids if "://" not in text),
        " ".join(cursor), " ".join(page) or "1", window,
        {key: value for key, value in others.items() if key in _AMOUNTS},
        {key: value for key, value in others.items() if key in _REMARKS},
        {key: value for key, value in others.items() if key not in _AMOUNTS and key not in _REMARKS},
    )  # fmt: skip


def _text_keys(kind: str) -> Sequence[str]:
    return {SEARCH: _QUERIES, FIND: _PHRASES, ANSWER: _ANSWERS, EVIDENCE: _QUOTES}.get(kind, ())


def _texts(arguments: Mapping[str, Any], keys: Sequence[str], taken: set[str]) -> tuple[str, ...]:
    """The texts under the first of some keys that is there; of a list all, of its objects their first text."""
    for key in keys:
        if key not in arguments or key in taken:
            continue
        found = [_text(item, keys) for item in _listed(arguments[key])]
        if len(found) <= _MOST_TEXTS and all(text is not None for text in found):
            taken.add(key)
            return tuple(text for text in found if text is not None)
    return ()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(item: Any, keys: Sequence[str]) -> str | None:
    if isinstance(item, dict):
        return next((item[key] for key in keys if isinstance(item.get(key), str)), None)
    if isinstance(item, str):
        return item
    return str(item) if isinstance(item, int) and not isinstance(item, bool) and abs(item) < 10**12 else None


def _number(arguments: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        value = arguments.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
            return value
    return None


def _window(arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    start = _number(arguments, "loc", "start_line", "line_start", "line", "start", "offset")
    end = _number(arguments, "end_line", "line_end", "end")
    both = arguments.get("view_range", arguments.get("lines"))
    if isinstance(both, list) and len(both) == 2 and all(type(item) is int and 0 <= item < 10**9 for item in both):
        start, end = both
    length = _number(arguments, "num_lines")
    if start is None and end is None and length is None:
        return None
    first = start or 0
    if end is None:
        end = first + (length or _WINDOW) - 1
    return None if (first, end) == (0, _WINDOW - 1) else (first, end)
