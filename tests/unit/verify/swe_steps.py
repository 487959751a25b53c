"""Steps of coding agents that tests of `swe` share."""

import json
from typing import Any

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, Verdict, build

guarded = build("swe:guarded")
MODELS = "/repo/src/app/models.py"


def call(name: str, **arguments: Any) -> Action:
    return Action(None, (ToolCall(name, json.dumps(arguments)),))


def bash(command: str) -> Action:
    return call("execute_bash", command=command)


def view(*lines: int, path: str = MODELS) -> Action:
    return call("str_replace_editor", command="view", path=path, **({"view_range": list(lines)} if lines else {}))


def edit(old: str, new: str, path: str = MODELS) -> Action:
    return call("str_replace_editor", command="str_replace", path=path, old_str=old, new_str=new)


def create(text: str, path: str = MODELS) -> Action:
    return call("str_replace_editor", command="create", path=path, file_text=text)


def insert(line: int, text: str) -> Action:
    return call("str_replace_editor", command="insert", path=MODELS, insert_line=line, new_str=text)


def text(command: str, thought: str = "Let me look.") -> Action:
    return Action(f"{thought}\n```\n{command}\n```")


def judged(actual: Action, expected: Action, **switches: Any) -> Verdict:
    verifier = build({"name": "swe", **switches}) if switches else guarded
    return verifier(actual, expected, Context())


FIRST_40 = [
    view(1, 40),
    bash(f"sed -n '1,40p' {MODELS}"),
    bash(f"sed -n 1,40p {MODELS}"),
    bash(f"head -n 40 {MODELS}"),
    bash(f"head -40 {MODELS}"),
    bash(f"cat {MODELS} | head -40"),
    bash(f"cat -n {MODELS} | sed -n 1,40p"),
    bash(f"nl -ba {MODELS} | sed -n '1,40p'"),
    bash("cd /repo && sed -n 1,40p src/app/models.py"),
    call("read_file", path="src/app/models.py", start_line=1, end_line=40),
    call("read", file_path=MODELS, limit=40),
    text(f"str_replace_editor view {MODELS} --view_range 1 40"),
    text(f"sed -n 1,40p {MODELS}"),
]
WHOLE = [
    view(),
    view(1, -1),
    bash(f"cat {MODELS}"),
    bash(f"cat -n {MODELS}"),
    bash(f"nl -ba {MODELS}"),
    bash("cd /repo/src && cat app/models.py"),
    call("open_file", path=MODELS),
    text("open src/app/models.py"),
]
