"""`pivot world`: the embedded world's checkpoint and trajectories."""

import argparse
from pathlib import Path

from pivot.cli_parts import Commands, add


def add_world(commands: Commands) -> None:
    about = "the embedded world: a random tiny MoE, expert trajectories, and the check of a pre-training"
    world = commands.add_parser("world", help=about, description=about)
    parts = world.add_subparsers(title="commands", required=True, metavar="COMMAND")
    init = add(parts, "init", "a random tiny MoE with the world's tokenizer, to pre-train",
               "pivot world init runs/pretrain/init", run_world_init)  # fmt: skip
    init.add_argument("out", type=Path)
    init.add_argument("--seed", type=int, default=0)
    write = add(parts, "trajectories", "expert trajectories as OpenAI-chat JSONL",
                "pivot world trajectories data/train.jsonl --count 100", run_world_trajectories)  # fmt: skip
    write.add_argument("out", type=Path)
    write.add_argument("--count", type=int, default=100)
    write.add_argument("--split", choices=("train", "validation"), default="train")
    write.add_argument("--seed", type=int, default=0)
    pack = add(parts, "pack", "store a pre-trained checkpoint in bfloat16, or compare it with the stored one",
               "pivot world pack runs/pretrain/hf --compare pivot/world/tiny-moe", run_world_pack)  # fmt: skip
    pack.add_argument("checkpoint", type=Path)
    pack.add_argument("--out", type=Path, help="write it here")
    pack.add_argument("--compare", type=Path, help="say whether it matches this one within tolerance")


def run_world_init(arguments: argparse.Namespace) -> None:
    from pivot.launch import writable
    from pivot.world.tiny_moe import write_random_checkpoint

    writable(arguments.out)
    parameters = write_random_checkpoint(arguments.out, arguments.seed)
    print(f"{arguments.out}: random tiny MoE, {parameters:,} parameters")


def run_world_trajectories(arguments: argparse.Namespace) -> None:
    from pivot.launch import writable
    from pivot.world.corpus import write_trajectories
    from pivot.world.expert import expert_trajectories

    writable(arguments.out.parent)
    written = write_trajectories(expert_trajectories(arguments.count, arguments.seed, arguments.split), arguments.out)
    print(f"{arguments.out}: {written} expert trajectories")


def run_world_pack(arguments: argparse.Namespace) -> None:
    from pivot.world.pack import compare, pack

    if arguments.out:
        pack(arguments.checkpoint, arguments.out)
    if arguments.compare:
        compare(arguments.checkpoint, arguments.compare)
