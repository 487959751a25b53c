"""Images, audio and files among the content parts of chat messages: what no text can say."""

from collections import Counter
from typing import Any

from pivot.trajectory.untrusted import as_list

_KINDS = {
    "image": "images",
    "image_url": "images",
    "input_image": "images",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "file": "files",
    "input_file": "files",
}


def _kind(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    return _KINDS.get(kind) if isinstance(kind, str) else None


def without_media(raw_messages: list[Any], left_out: Counter[str]) -> tuple[list[Any], dict[int, str]]:
    """Raw chat messages with the text of their content alone, and which assistant messages are no turns any more.

    From the first medium on the agent had seen what the messages do not say: later turns are history only.

    Args:
        raw_messages: Untrusted.
        left_out: Counts the media by kind.
    """
    kept: list[Any] = []
    not_expert: dict[int, str] = {}
    seen = False
    for index, raw in enumerate(raw_messages):
        parts = as_list(raw.get("content")) if isinstance(raw, dict) else []
        media = [kind for part in parts if (kind := _kind(part)) is not None]
        if media:
            seen = True
            left_out.update(media)
            raw = {**raw, "content": [part for part in parts if _kind(part) is None]}
        if seen and isinstance(raw, dict) and raw.get("role") == "assistant":
            not_expert[index] = "multimodal_history"
        kept.append(raw)
    return kept, not_expert
