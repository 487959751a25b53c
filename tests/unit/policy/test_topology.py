"""A process group that cannot be made is one line with the fix."""

import socket

import pytest
import torch.distributed as dist

from pivot.errors import UserError
from pivot.policy import topology


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist.distributed_c10d._world, "default_pg", None)  # another test may have joined a group
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        values = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"^MASTER_PORT={port} is taken on .*: set another one$"):
            topology._join("gloo")
