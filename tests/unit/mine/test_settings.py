"""Mining's configuration keys."""

import pytest

from pivot.config import load
from pivot.errors import UserError


def test_waves_that_add_up_to_the_group() -> None:
    section = load(None, ["mine.group_size=16", "mine.waves=[4,4,8]", "mine.shard=0/4"]).mine
    assert (section.waves, section.shard) == ([4, 4, 8], "0/4")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mine.waves=[4,8]", "'mine.waves' is [4, 8]: it must be null, or positive numbers that add up to mine.group"),
        ("mine.waves=[0,8]", "'mine.waves'"),
        ("mine.error_rate=1", "'mine.error_rate' is 1.0: it must be at least 0 and below 1"),
        ("mine.prior=0", "'mine.prior' is 0.0: it must be greater than 0"),
        ("mine.select=easy", "'mine.select' is 'easy': it must be one of paper, tau_as_run, mixed, hard, random"),
        ("mine.stale=delete", "'mine.stale' is 'delete': it must be refuse or redo"),
        ("mine.per_trajectory=0", "'mine.per_trajectory' is 0"),
        ("mine.message_share=1.5", "'mine.message_share' is 1.5"),
        ("mine.domain_ratio=0.5", "'mine.domain_ratio' is 0.5"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key_and_what_it_takes(override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(None, [override])
    assert message in str(caught.value)
