"""Chat templates that do, or leave out, what real ones do, and tokenizers with them."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from tests.unit.trajectory.examples import call

TINY_MOE = Path(__file__).parents[3] / "pivot/world/tiny-moe"

# The Hermes/Qwen form: calls as JSON objects in tags, tools in the first block. Reads no thoughts.
HERMES = """\
{%- if tools %}{{- '<|im_start|>tools' }}{% for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'elf' %}{{- raise_exception('no elves') }}{% endif %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for tool_call in message.tool_calls or [] %}
{%- if not loop.first or message.content %}{{- '\\n' }}{% endif %}
{{- '<tool_call>\\n{"name": "' + tool_call.function.name + '", "arguments": ' }}
{{- tool_call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""

# Knows roles and texts and nothing else.
PLAIN = """\
{%- for message in messages %}{{- '[' + message.role + '] ' + (message.content or '') + '<|im_end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{- '[assistant] ' }}{% endif %}"""

# Leaves out results, the text beside calls and the system message.
FORGETFUL = """\
{%- for message in messages if message.role in ('user', 'assistant') %}
{{- '[' + message.role + '] ' }}
{%- if message.tool_calls %}
{%- for tool_call in message.tool_calls %}
{{- tool_call.function.name + (tool_call.function.arguments | tojson) }}{% endfor %}
{%- else %}{{- message.content }}{% endif %}{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[assistant] ' }}{% endif %}"""

# Prints thoughts only after the last user message, also for a thought that stands in the text.
THINKING = """\
{%- set last = namespace(user=-1) %}
{%- for message in messages if message.role == 'user' %}{% set last.user = messages.index(message) %}{% endfor %}
{%- for message in messages %}
{%- set text = message.content if message.content is string else '' %}
{%- set thought = message.reasoning_content or '' %}
{%- if message.role == 'assistant' and '</think>' in text %}
{%- set thought = text.split('</think>')[0].split('<think>')[-1].strip() %}
{%- set text = text.split('</think>')[-1].lstrip() %}
{%- endif %}
{{- '[' + message.role + '] ' }}
{%- if loop.index0 > last.user and message.role == 'assistant' %}{{- '<think>' + thought + '</think>' }}{% endif %}
{{- text + (message.tool_calls | tojson if message.tool_calls else '') + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '[assistant] ' }}{% endif %}"""


def byte_tokenizer(template: str | None, special: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """One token a byte, and one for each special text."""
    alphabet = {char: index for index, char in enumerate(sorted(ByteLevel.alphabet()))}
    model = Tokenizer(BPE(vocab=alphabet, merges=[]))
    model.pre_tokenizer = ByteLevel(add_prefix_space=False)
    model.decoder = ByteLevelDecoder()
    fast = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<|im_end|>")
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *special]})
    fast.chat_template = template
    return fast


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str = "", thought: str = "", calls: tuple[str, ...] = ()) -> dict[str, Any]:
    """An assistant message; `calls` are ids, and each calls `f` with its id."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [call("f", {"id": given}, given) for given in calls]
    return message | ({"reasoning_content": thought} if thought else {})


def result(call_id: str, text: str = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": text}
