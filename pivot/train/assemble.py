"""From the configuration to the parts of a training program: layout, optimizer, Lightning Trainer with NeMo's logs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, TorchElasticEnvironment
from nemo.utils.exp_manager import exp_manager

from pivot import ranks
from pivot.attempt.running import Running
from pivot.config import Config
from pivot.policy import OptimizerSettings, Policy
from pivot.policy.optimizer import Rule
from pivot.train.callbacks import Checkpoints, Stops
from pivot.train.logs import OwnNumbers, loggers
from pivot.train.retention import resume_point
from pivot.train.schedule import Schedule
from pivot.train.strategy import MegatronStrategy


def optimizer(config: Config) -> OptimizerSettings:
    section = config.optimizer
    return OptimizerSettings(
        betas=(section.betas[0], section.betas[1]),
        eps=section.eps,
        weight_decay=section.weight_decay,
        clip=section.clip_grad,
        distributed=section.distributed,
        offload=section.offload,
        rules=tuple(Rule(rule.match, rule.lr, rule.weight_decay) for rule in section.rules),
    )


def schedule(config: Config, *, steps: int, default: str) -> Schedule:
    """The learning rate of a run of so many steps; `default` is the program's own kind of schedule."""
    section = config.optimizer
    return Schedule(section.schedule or default, section.lr, section.warmup_steps, steps, section.min_lr_ratio)


def cluster(environment: Mapping[str, str] = os.environ) -> ClusterEnvironment:
    """Where Lightning finds ranks: always torchrun's variables, or it would take Slurm's signals to itself."""
    return TorchElasticEnvironment() if "RANK" in environment else LightningEnvironment()


def build_trainer(
    config: Config, policy: Policy, running: Running, *, steps: int, callbacks: Sequence[pl.Callback]
) -> pl.Trainer:
    """Lightning's Trainer in NeMo's run directory, pointed at the newest whole checkpoint if there is one.

    Collective: rank 0 picks the checkpoint for all. The run directory is this program's from here on.

    Raises:
        UserError: another program has the run directory.
    """
    directory = Path(config.run.dir)
    running.lock(directory)
    train = config.train
    trainer = pl.Trainer(
        strategy=MegatronStrategy(policy, background=train.checkpoint_async, fence=running.check_lock),
        plugins=[cluster()],
        devices=ranks.size_on_node(),
        num_nodes=ranks.size() // ranks.size_on_node(),
        max_steps=steps,
        val_check_interval=min(train.validate_every, steps),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[
            OwnNumbers(),
            Stops(running, policy),
            *callbacks,
            Checkpoints(
                directory / "checkpoints",
                policy,
                every=train.checkpoint_every,
                keep=train.keep_checkpoints,
                best=train.keep_best,
                last=steps,
            ),
        ],
    )
    resume = resume_point(directory / "checkpoints")
    if resume and ranks.rank() == 0:
        print(f"resuming from {resume}", flush=True)
    log_dir = exp_manager(
        trainer,
        {
            "explicit_log_dir": str(directory / "logs"),
            "resume_from_checkpoint": str(resume) if resume else None,
            # Lightning's and NeMo's own checkpoint callbacks delete before they have saved; ours is `Checkpoints`.
            "create_checkpoint_callback": False,
            "log_step_timing": False,
            "disable_validation_on_resume": False,
            "seconds_to_sleep": 0,
        },
    )
    trainer.loggers = loggers(trainer.loggers, Path(str(log_dir)))
    return trainer
