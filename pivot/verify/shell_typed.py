"""Commands typed into a terminal: what may read the keys behind it, and what is no shell command at all.

In a script a newline is a `;`. Typed, it is also a key: a program that runs may read it and all that follows.
"""

from collections.abc import Sequence, Set
from typing import Any

from pivot.verify.shell_commands import COMMANDS
from pivot.verify.shell_forms import chain_form, split_cd
from pivot.verify.shell_options import Form
from pivot.verify.shell_script import Block, Chain, Item, Simple
from pivot.verify.words import word_set

# Read nothing that is typed, whatever their arguments.
_UNATTENDED = word_set(
    """
    ls cd pwd echo printf mkdir rmdir touch cp mv ln chmod chown export unset set alias which type true false test
    env printenv date whoami id uname hostname df du find tree stat file ps kill sleep make cmake ninja gcc g++
    clang cc javac rustc cargo go pytest py.test tar curl wget rm git-lfs nproc free ss netstat lsof basename
    dirname readlink realpath seq diff cmp md5sum sha256sum rg fd jobs clear history source . black ruff mypy flake8
    isort tox [
    """
)
# Read standard input where no file is named: the operands that they need so that there is one.
_READS_WITHOUT_FILE = {
    "cat": 1, "head": 1, "tail": 1, "wc": 1, "sort": 1, "uniq": 1, "cut": 1, "nl": 1, "tac": 1, "grep": 2, "egrep": 2,
    "fgrep": 2, "sed": 2, "awk": 2, "jq": 2, "tr": 9, "tee": 9, "xargs": 9,
}  # fmt: skip
_INTERPRETERS = word_set(
    """
    python python3 node ruby perl php bash sh zsh
    """
)
_QUIET_GIT = word_set(
    """
    status add init config clone checkout switch pull fetch stash reset rev-parse apply rm mv
    """
)
# Take the terminal over: what follows is for them.
_TAKES_OVER = word_set(
    """
    vi vim nvim nano emacs ed less more man top htop ssh sftp ftp telnet nc ncat mysql psql sqlite3 redis-cli mongo
    gdb lldb pdb ipython irb ghci su passwd read watch bc dc screen tmux
    """
)
_KNOWN = (
    _UNATTENDED
    | _INTERPRETERS
    | _TAKES_OVER
    | frozenset(_READS_WITHOUT_FILE)
    | frozenset(name.partition(" ")[0] for name in COMMANDS)
    | word_set(
        """
    pip3 npm npx yarn pnpm java mvn gradle docker docker-compose kubectl systemctl service apt apt-cache dpkg yum
    dnf apk brew conda mamba uv poetry sudo nohup timeout command exec eval exit wait pkill pgrep bg fg umask ulimit
    strings xxd od hexdump split paste join comm column rev fold shuf patch strace objdump readelf ldd nm ip ping
    mount umount crontab useradd usermod groupadd chgrp scp ln zip 7z bzip2 xz base64 openssl gpg time local
    zcat readonly declare typeset [ [[ for while if return shift trap getopts
    """
    )
)


def is_known(chain: Chain) -> bool:
    """Whether every command of a chain is one of a shell; keys for an editor or a prompt are not."""
    return all(
        _is_known_command(stage) if isinstance(stage, Simple) else all(_known_parts(stage))
        for pipeline in chain.pipelines
        for stage in pipeline.stages
    )


def _is_known_command(simple: Simple) -> bool:
    name = simple.name.literal if simple.name else None
    return name is None or "/" in name or name in _KNOWN


def _known_parts(block: Block) -> list[bool]:
    return [is_known(item.chain) for part in block.parts if isinstance(part, list) for item in part]


def reads_keys(chain: Chain) -> bool:
    """Whether a chain may read what is typed while it runs."""
    return not all(
        _is_unattended(stage, first=at == 0) for pipeline in chain.pipelines for at, stage in enumerate(pipeline.stages)
    )


def _is_unattended(stage: Simple | Block, first: bool) -> bool:
    if isinstance(stage, Block):
        return stage.kind != "opaque" and not any(
            reads_keys(item.chain) for part in stage.parts if isinstance(part, list) for item in part
        )
    name = stage.name.literal if stage.name else ""
    if name is None:
        return False
    has_input = not first or any(redirect.descriptor == "0" for redirect in stage.redirects)
    words = [word.literal or "?" for word in stage.args]
    plain = [word for word in words if not word.startswith("-")]
    if name in _READS_WITHOUT_FILE:
        return has_input or len(plain) >= _READS_WITHOUT_FILE[name]
    if name in _INTERPRETERS:
        return has_input or ("-i" not in words and bool(words) and (bool(plain) or "--version" in words))
    if name == "git":
        return bool(words) and (
            words[0] in _QUIET_GIT or (words[0] == "commit" and any(w.startswith("-") and "m" in w for w in words))
        )
    if name in ("apt-get", "apt"):
        return any(word in ("-y", "-yq", "-qy", "-qqy", "-yqq", "--yes", "update") for word in words)
    if name in ("pip", "pip3"):
        return bool(words) and words[0] in ("install", "list", "show", "freeze", "--version")
    return name in _UNATTENDED or name == ""


def takes_over(chain: Chain) -> bool:
    """Whether a chain begins something that reads all that is typed from then on."""
    for pipeline in chain.pipelines:
        for at, stage in enumerate(pipeline.stages):
            if isinstance(stage, Block) or stage.name is None:
                continue
            name = (stage.name.literal or "").rpartition("/")[2]
            starts_shell = name in _INTERPRETERS and not _is_unattended(stage, first=at == 0)
            if (
                name in _TAKES_OVER
                or starts_shell
                or (name in _READS_WITHOUT_FILE and not _is_unattended(stage, at == 0))
            ):
                return True
    return False


def typed_form(items: Sequence[Item], source: bytes, on: Set[str]) -> Form:
    """The normal form of what is typed at a prompt."""
    form: list[Any] = []
    quiet = True
    for at, item in enumerate(items):
        quiet = quiet and not reads_keys(item.chain)
        end = items[at + 1].start if at + 1 < len(items) else len(source)
        newlines = source[item.end : end].count(b"\n")
        if is_known(item.chain):
            form += [(chain_form(chain, on), item.background) for chain in split_cd(item, on)]
        else:
            form.append((_text(source, item.start, item.end), item.background))
        if newlines and takes_over(item.chain):
            return (*form, _text(source, item.end, len(source)))
        if newlines and not quiet:
            form.append(("enter", newlines))
        elif not newlines and at + 1 == len(items) and "final_enter" not in on:
            form.append(("not entered",))
    return tuple(form)


def _text(source: bytes, start: int, end: int) -> str:
    return source[start:end].decode("utf-8", "replace")
