"""One call, `get_weather(city="Oslo", days=2)`, as each family of models writes it."""

# ruff: noqa: RUF001  (some families write their marks with a full-width bar)

ARGUMENTS = '{"city": "Oslo", "days": 2}'
_CALL = f'{{"name": "get_weather", "arguments": {ARGUMENTS}}}'
_TAGGED = f"<tool_call>\n{_CALL}\n</tool_call>"
_FUNCTION = (
    "<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>"
)
_INVOKE = (
    '<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n<parameter name="days">2</parameter>\n'
    "</invoke>"
)
_KEYS = (
    "<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n"
    "</tool_call>"
)
_PYTHON = '[get_weather(city="Oslo", days=2)]'


def _dsml(space: str, calls: str) -> str:
    mark = f"｜DSML｜{space}"
    return (
        f'<{mark}{calls}>\n<{mark}invoke name="get_weather">\n'
        f'<{mark}parameter name="city" string="true">Oslo</{mark}parameter>\n'
        f'<{mark}parameter name="days" string="false">2</{mark}parameter>\n'
        f"</{mark}invoke>\n</{mark}{calls}>"
    )


def _minimax3() -> str:
    mark = "]<]minimax[>["
    fields = f"{mark}<city>Oslo{mark}</city>{mark}<days>2{mark}</days>"
    return f'{mark}<tool_call>\n{mark}<invoke name="get_weather">{fields}{mark}</invoke>\n{mark}</tool_call>'


def _plamo(part: str, text: str) -> str:
    return f"<|plamo:begin_{part}:plamo|>{text}<|plamo:end_{part}:plamo|>"


CALLS = {
    "apertus": f'<|tools_prefix|>[{{"get_weather": {ARGUMENTS}}}]<|tools_suffix|>',
    "deepseek_v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n"
    f"```json\n{ARGUMENTS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek_v31": f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{ARGUMENTS}"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek_v32": _dsml("", "function_calls"),
    "deepseek_v4": _dsml("", "tool_calls"),
    "deepseek_v41": _dsml(" ", "calls"),
    "dots": f"<dots_function_call>\n{_INVOKE}\n</dots_function_call>",
    "ernie45": _TAGGED,
    "functiongemma": "<start_function_call>call:get_weather{city:<escape>Oslo<escape>,days:<escape>2<escape>}"
    "<end_function_call>",
    "gemma4": '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:2}<tool_call|>',
    "gigachat3": f"<|function_call|>{_CALL}",
    "glm45": f"<tool_call>get_weather\n{_KEYS}",
    "glm47": f"<tool_call>get_weather\n{_KEYS}",
    "granite": f"<|tool_call|>[{_CALL}]",
    "granite-20b-fc": f"<function_call> {_CALL}",
    "granite4": f"<tool_call>{_CALL}</tool_call>",
    "hermes": _TAGGED,
    "hunyuan_a13b": f"<tool_calls>[{_CALL}]</tool_calls>",
    "hy_v3": f"<tool_calls><tool_call>get_weather<tool_sep>{_KEYS}</tool_calls>",
    "hy_v4": f"<tool_calls><tool_call>get_weather{_KEYS}</tool_calls>".replace("\n", ""),
    "inkling": f'<|content_invoke_tool_json|>{{"name": "get_weather", "args": {ARGUMENTS}}}<|end_message|>',
    "internlm": f'<|action_start|><|plugin|>{{"name": "get_weather", "parameters": {ARGUMENTS}}}<|action_end|>',
    "jamba": f"<tool_calls>[{_CALL}]</tool_calls>",
    "k2_horizon": "<ifm|tool_calls><ifm|tool_call>get_weather<ifm|arg_key>city</ifm|arg_key>"
    "<ifm|arg_value>Oslo</ifm|arg_value><ifm|arg_key>days</ifm|arg_key><ifm|arg_value>2</ifm|arg_value>"
    "</ifm|tool_call></ifm|tool_calls>",
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
    f"{ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>",
    "kimi_k3": '<|open|>tools<|sep|><|open|>call tool="get_weather" index="0"<|sep|>'
    '<|open|>argument key="city" type="string"<|sep|>Oslo<|close|>argument<|sep|>'
    '<|open|>argument key="days" type="number"<|sep|>2<|close|>argument<|sep|>'
    "<|close|>call<|sep|><|close|>tools<|sep|>",
    "lfm2": f"<|tool_call_start|>{_PYTHON}<|tool_call_end|>",
    "ling3": f"<tool_call>get_weather\n{_KEYS}",
    "llama3_json": f'{{"name": "get_weather", "parameters": {ARGUMENTS}}}',
    "llama4_json": f'{{"name": "get_weather", "parameters": {ARGUMENTS}}}',
    "llama4_pythonic": f"<|python_start|>{_PYTHON}<|python_end|>",
    "longcat": f"<longcat_tool_call>\n{_CALL}\n</longcat_tool_call>",
    "mimo": f"<tool_call>{_FUNCTION}</tool_call>".replace("\n", ""),
    "minicpm5": '<function name="get_weather"><param name="city">Oslo</param><param name="days">2</param></function>',
    "minimax_m2": f"<minimax:tool_call>\n{_INVOKE}\n</minimax:tool_call>",
    "minimax_m3": _minimax3(),
    "mistral": f"[TOOL_CALLS]get_weather[ARGS]{ARGUMENTS}",
    "muse_glimmer": '<|start|>assistant to=get_weather<|message|><atem:function_calls>\n'
    '<atem:invoke name="get_weather">\n<atem:parameter name="city">Oslo</atem:parameter>\n'
    '<atem:parameter name="days">2</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eom|>',
    "olmo3": f"<function_calls>{_PYTHON[1:-1]}</function_calls>",
    "phi4_mini_json": f"functools[{_CALL}]",
    "plamo3": _plamo(
        "tool_requests",
        _plamo(
            "tool_request",
            _plamo("tool_name", "get_weather")
            + _plamo("tool_arguments", f"<|plamo:constrain|>json<|plamo:msg|>{ARGUMENTS}"),
        ),
    ),
    "poolside_v1": f"<tool_call>get_weather\n{_KEYS}",
    "pythonic": _PYTHON,
    "qwen3_coder": f"<tool_call>\n{_FUNCTION}\n</tool_call>",
    "qwen3_json": _TAGGED,
    "qwen3_xml": f"<tool_call>\n{_FUNCTION}\n</tool_call>",
    "seed_oss": f"<seed:tool_call>\n{_FUNCTION}\n</seed:tool_call>",
    "step3": "<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜>"
    '<steptml:invoke name="get_weather"><steptml:parameter name="city">Oslo</steptml:parameter>'
    '<steptml:parameter name="days">2</steptml:parameter></steptml:invoke>'
    "<｜tool_call_end｜><｜tool_calls_end｜>",
    "step3p5": f"<tool_call>\n{_FUNCTION}\n</tool_call>",
    "xlam": f"[{_CALL}]",
}  # fmt: skip
