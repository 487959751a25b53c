"""Which block a prompt shares most tokens with, and when it is there."""

from dataclasses import dataclass

from pivot.rollout.tails import ROOT, Tail, Tails


@dataclass
class Block:
    block_id: int


@dataclass
class Request:
    num_computed_tokens: int = 0
    running: bool = True


def new() -> Tails:
    return Tails(lambda request: request.running)


def test_the_block_that_shares_most() -> None:
    tails, done = new(), Request(num_computed_tokens=9)
    tails.add(ROOT, Tail((1, 2, 3), Block(1), done, 3))
    tails.add(ROOT, Tail((1, 2, 4, 5), Block(2), done, 4))
    tails.add(b"other", Tail((1, 2, 4, 5, 6), Block(3), done, 5))
    tail, length = tails.find(ROOT, [1, 2, 4, 6])
    assert (tail and tail.block.block_id, length) == (2, 3)
    assert tails.find(ROOT, [7]) == (None, 0)
    assert tails.find(ROOT, []) == (None, 0)
    assert tails.find(b"absent", [1]) == (None, 0)


def test_a_block_counts_when_its_owner_has_computed_it_and_stays_when_the_owner_is_thrown_out() -> None:
    tails, owner = new(), Request()
    tails.add(ROOT, Tail((1, 2), Block(1), owner, 2))
    tail, _ = tails.find(ROOT, [1, 2])
    assert tail is not None
    assert not tail.computed()
    owner.num_computed_tokens = 2
    assert tail.computed()
    owner.num_computed_tokens = 0
    assert tail.computed()


def test_of_equally_long_ones_a_block_that_is_there() -> None:
    tails = new()
    for number, computed in enumerate((0, 2, 0)):
        tails.add(ROOT, Tail((1, 2), Block(number), Request(computed), 2))
    tail, length = tails.find(ROOT, [1, 2, 3])
    assert (tail and tail.block.block_id, length) == (1, 2)


def test_reused_blocks_and_those_of_owners_that_stopped_are_forgotten() -> None:
    tails = new()
    tails.add(ROOT, Tail((1,), Block(1), Request(1), 1))
    tails.add(b"a", Tail((1,), Block(1), Request(1), 1))  # the same block, somewhere else now
    assert tails.find(ROOT, [1]) == (None, 0)
    assert tails.holds(1)
    tails.forget(1)
    tails.forget(1)
    assert not tails.holds(1)
    assert tails.find(b"a", [1]) == (None, 0)
    tails.add(ROOT, Tail((1,), Block(2), Request(0, running=False), 1))
    assert tails.find(ROOT, [1]) == (None, 0)
    assert not tails.holds(2)
    tails.add(ROOT, Tail((1,), Block(3), Request(1), 1))
    tails.clear()
    assert not tails.holds(3)
