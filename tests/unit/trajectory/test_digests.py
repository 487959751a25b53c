"""The set of ids behaves as a set, and is small."""

import hashlib
import sys

from hypothesis import given
from hypothesis import strategies as st

from pivot.trajectory.digests import DigestSet

IDS = st.lists(st.binary(min_size=12, max_size=12).map(bytes.hex) | st.just("00" * 12), max_size=30)


@given(IDS)
def test_an_id_is_new_once(ids: list[str]) -> None:
    seen = DigestSet()
    known: set[str] = set()
    for one in ids:
        assert (one in seen) is (one in known)
        assert seen.add(one) is (one not in known)
        known.add(one)
        assert len(seen) == len(known)


def test_it_grows_and_costs_at_most_36_bytes_a_member() -> None:
    seen = DigestSet()
    ids = [hashlib.sha256(str(n).encode()).hexdigest()[:24] for n in range(20_000)]
    assert all(seen.add(one) for one in ids)
    assert not any(seen.add(one) for one in ids)
    assert len(seen) == 20_000
    assert sys.getsizeof(seen._table) <= 36 * 20_000 + 100


def test_ids_that_collide_stay_apart() -> None:
    seen = DigestSet()
    same_place = [f"{'11' * 8}{n:08x}" for n in range(200)]
    assert all(seen.add(one) for one in same_place)
    assert not any(seen.add(one) for one in same_place)
