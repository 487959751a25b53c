"""Shell equivalence on a parse tree: would these commands do the same, and show the same? Nothing is executed.

Blanks, comments and `;` for a newline never count. Every other way in which two texts may differ and still be equal
has a switch. The order of commands and assignments, `sudo`, operators and whatever the shell expands always count, and
so does the order of operands and redirections where no switch speaks of it. A text with a syntax error, or one that is
too long or too deep, equals only itself.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, fields
from functools import lru_cache

from pivot.verify.shell_forms import sequence_form
from pivot.verify.shell_options import Form
from pivot.verify.shell_script import Items, read_sequence
from pivot.verify.shell_tree import parse
from pivot.verify.shell_typed import typed_form

# Named where two texts differ in nothing that has a switch.
SPACING = "spacing"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellRelaxations:
    """In what equal commands may differ. Every switch is symmetric.

    Attributes:
        quoting: 'x' is "x" is x, and $x is ${x}, where the shell makes the same of them.
        flag_order: The order of options, and whether they stand before or behind operands, where it says nothing.
        flag_clusters: -la is -l -a; -n5 is -n 5.
        long_flags: --all is -a; --lines=5 is --lines 5.
        numeric_flags: head -5 is head -n 5.
        dash_dash: `--` where it only ends the options.
        option_glob: --include=*.py is --include='*.py'.
        aliases: egrep is grep -E; tar xf is tar -xf; [ x ] is test x; apt install is apt-get install.
        cat_pipe: cat f | grep x is grep x f is grep x < f; cat f | wc -l is wc -l < f.
        cd_chain: cd d && c is cd d; c, unless c may do harm where there is no d.
        default_operand: ls . is ls; find . -empty is find -empty.
        dot_slash: ./f is f for commands that do not show it.
        trailing_slash: d/ is d for ls, cd, mkdir and grep -r: it is taken for a directory.
        operand_order: rm a b is rm b a; so for touch and git add.
        pattern_option: grep -e x f is grep x f; sed -e s/a/b/ f is sed s/a/b/ f.
        find_tests: The order of neighbouring tests of find, and its final -print.
        sed_head: sed -n 1,5p f is head -n 5 f.
        redirect_form: The order of redirections of different descriptors, how the end of a here-document is marked;
            &> f is > f 2>&1; |& is 2>&1 |.
        final_enter: Typed text without a newline at its end, which no shell has run yet, is one with it.
    """

    quoting: bool = True
    flag_order: bool = True
    flag_clusters: bool = True
    long_flags: bool = True
    numeric_flags: bool = True
    dash_dash: bool = True
    option_glob: bool = True
    aliases: bool = True
    cat_pipe: bool = True
    cd_chain: bool = True
    default_operand: bool = True
    dot_slash: bool = True
    trailing_slash: bool = True
    operand_order: bool = True
    pattern_option: bool = True
    find_tests: bool = True
    sed_head: bool = True
    redirect_form: bool = True
    final_enter: bool = False

    def on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        return frozenset(item.name for item in fields(ShellRelaxations) if getattr(self, item.name))


def equivalent(left: str, right: str, relax: ShellRelaxations, *, typed: bool = False) -> tuple[str, ...] | None:
    """The switches that make two texts the same commands, sorted; None where they are not.

    Args:
        left: A command or script.
        right: Another one.
        relax: What may differ.
        typed: Whether the texts are typed into a terminal, newlines included, and not run as a script.
    """
    if left == right:
        return ()
    read = _read(left), _read(right)
    if read[0] is None or read[1] is None:
        return None
    sides = (left, read[0]), (right, read[1])

    def same(on: Set[str]) -> bool:
        one, other = (_form(text, items, on, typed) for text, items in sides)
        return one == other

    on = relax.on()
    if not same(on):
        return None
    return tuple(sorted(_needed(on, same))) or (SPACING,)


def _needed(on: Set[str], same: Callable[[Set[str]], bool]) -> set[str]:
    """The switches that cannot be spared, dropping many at once, for most equalities need one or two."""
    needed = set(on)
    waiting = [sorted(on)]
    while waiting:
        some = waiting.pop()
        if same(needed - set(some)):
            needed -= set(some)
        elif len(some) > 1:
            middle = len(some) // 2
            waiting += [some[middle:], some[:middle]]
    return needed


@lru_cache(maxsize=64)
def _read(text: str) -> Items | None:
    """The commands of a text; one expert's action is held against many samples."""
    tree = parse(text)
    return None if tree is None else read_sequence(tree.kids)


def _form(text: str, items: Items, on: Set[str], typed: bool) -> Form:
    return typed_form(items, text.encode(), on) if typed else sequence_form(items, on)
