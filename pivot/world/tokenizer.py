"""The world's tokenizer: byte-level BPE with 1,024 tokens and a ChatML-like template with tools."""

import json
from collections.abc import Iterator, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from pivot.trajectory.types import Message, Tool

VOCABULARY = 1024
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TOOL_TOKENS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
SPECIAL_TOKENS = (PAD, START, END, *TOOL_TOKENS)

# Pieces that merges never cross. A newline always stands alone, so an action's tokens do not depend on the
# line before it (prefix stability). A digit stands alone, and a space belongs to the word before it, so that
# numbers and names have the same tokens wherever they stand and copying is easy. The fixed parts of a tool's
# schema, and a JSON key with its punctuation (`", "arguments": {"`), are one piece each: prompts get short.
PIECES = (
    r"\n"
    r"|\d"
    r"|(?:[\[\]{}:,\"]+(?:type|object|string|integer|properties|required|parameters|enum|default)(?=\"))+[\[\]{}:,\"]+"
    r"|[^\w\s]*(?:, \")?[a-z_]+(?!\":\{\"type)\": ?[^\w\s]*"
    r"|@[a-z]+\.[a-z]+"
    r"| ?[^\W\d]+ ?"
    r"|[^\w\s]+ ?"
    r"|[^\S\n]"
)

CHAT_TEMPLATE = """\
{%- if tools or (messages and messages[0].role == 'system') -%}
{{- '<|im_start|>system\\n' -}}
{%- if messages and messages[0].role == 'system' -%}{{- messages[0].content or '' -}}{%- endif -%}
{%- for tool in tools or [] -%}
{{- '\\n' + ((tool.function if tool.function is defined else tool) | tojson(separators=(',', ':'))) -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
{{- '<|im_start|>tool\\n<tool_response>' + (message.content or '') + '</tool_response><|im_end|>\\n' -}}
{%- elif message.role != 'system' or not loop.first -%}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{%- if not loop.first or message.content -%}{{- '\\n' -}}{%- endif -%}
{%- set function = call.function if call.function is defined else call -%}
{{- '<tool_call>\\n{"name": "' + function.name + '", "arguments": ' -}}
{{- function.arguments if function.arguments is string else function.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Fit the tokenizer; the same texts give the same tokenizer.

    Args:
        texts: Rendered conversations without the special tokens.

    Raises:
        ValueError: if the texts hold too few different pieces for the full vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=2,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise ValueError(
            f"the texts gave {tokenizer.get_vocab_size()} tokens, not {VOCABULARY}: pass more varied texts"
        )
    return wrap(_keep_tool_tokens(tokenizer))


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _keep_tool_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Make the tool tokens survive `skip_special_tokens`: engines drop special ones before parsing."""
    description = json.loads(tokenizer.to_str())
    for token in description["added_tokens"]:
        token["special"] = token["content"] not in TOOL_TOKENS
    return Tokenizer.from_str(json.dumps(description))


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The `transformers` form, with template, end and padding tokens."""
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def render(messages: Sequence[Message], tools: Sequence[Tool] = (), *, add_generation_prompt: bool = False) -> str:
    """The template's text of a conversation; needs no tokenizer."""
    texts, _ = render_jinja_template(
        conversations=[list(messages)],
        tools=list(tools) or None,
        chat_template=CHAT_TEMPLATE,
        add_generation_prompt=add_generation_prompt,
    )
    text: str = texts[0]
    return text
