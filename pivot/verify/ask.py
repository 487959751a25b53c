"""How the judge's questions reach an OpenAI-compatible endpoint, with replies cached on disk by content."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.trajectory.atomic import atomic_write
from pivot.verify.judge import ENGINE, Ask, Judge, JudgeError


def asker(options: Judge) -> Ask | None:
    """What the settings describe; None for the colocated engine, which `Context.ask` brings.

    Raises:
        UserError: No usable key in the environment, or a cache that cannot be written.
    """
    return None if options.url == ENGINE else cached(endpoint(options), options)


def endpoint(options: Judge) -> Ask:
    """Ask the endpoint at `options.url`, at temperature 0, with bounded retries and time.

    Raises:
        UserError: The API key is not in the environment, or cannot be one.
    """
    # openai takes a second to import: only who asks a judge pays it.
    from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAI, OpenAIError

    key = os.environ.get(options.key_variable)
    if not key:
        raise UserError(
            f"no API key for the judge: set the environment variable {options.key_variable} (any text will do for a "
            "server that asks for none)"
        )
    if not key.isascii() or not key.isprintable():  # no header can hold it; never shown
        raise UserError(f"the API key in {options.key_variable} holds a line break or letters that no key has")
    client = OpenAI(base_url=options.url, api_key=key, timeout=options.timeout_s, max_retries=options.retries)

    def ask(text: str) -> str:
        try:
            reply = client.chat.completions.create(
                model=options.model,
                messages=[{"role": "user", "content": text}],
                temperature=0.0,
                max_tokens=options.max_tokens,
            )
        except APITimeoutError:
            raise JudgeError("judge_timeout") from None
        except APIConnectionError:
            raise JudgeError("judge_unreachable") from None
        except APIStatusError as error:
            raise JudgeError(f"judge_status:{error.status_code}") from None
        except (OpenAIError, ValueError):  # a reply that is no chat completion
            raise JudgeError("judge_unparsable") from None
        return _text(reply)

    return ask


def _text(reply: Any) -> str:
    """The reply's text; servers may answer anything with status 200."""
    try:
        content = reply.choices[0].message.content
    except (AttributeError, IndexError, TypeError):
        raise JudgeError("judge_unparsable") from None
    if not isinstance(content, str):
        raise JudgeError("judge_unparsable")
    return content


def cached(ask: Ask, options: Judge) -> Ask:
    """`ask`, with replies kept in `options.cache` under the hash of model and question.

    Only replies are kept, never errors. A file that cannot be read as a reply is asked for again.

    Raises:
        UserError: The folder cannot be written.
    """
    if options.cache is None:
        return ask
    folder = Path(options.cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another judge cache") from None

    def remember(text: str) -> str:
        key = hashlib.sha256(json.dumps([options.url, options.model, options.max_tokens, text]).encode()).hexdigest()
        path = folder / key[:2] / f"{key[2:]}.json"
        known = _read(path)
        if known is not None:
            return known
        reply = ask(text)
        # A full disk costs the next run its saving, not this one its reply.
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            with atomic_write(path) as file:
                json.dump({"model": options.model, "question": text, "reply": reply}, file)
        return reply

    return remember


def _read(path: Path) -> str | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    reply = stored.get("reply") if isinstance(stored, dict) else None
    return reply if isinstance(reply, str) else None
