"""The files that the daemons of the local Slurm read, as texts."""

from dataclasses import dataclass
from pathlib import Path

GPUS = 8
GPU_TYPE = "h100"
CPUS = 128  # pretended, so that the header of a real job fits
MEMORY = 1_000_000  # MB, pretended
LARGE = 64  # nodes of the partition `large`, which nothing runs on: they are powered off
PARTITIONS = """\
PartitionName=DEFAULT Nodes={nodes} MaxTime=INFINITE DefaultTime=60 PreemptMode=OFF State=UP
PartitionName=batch PriorityTier=10 Default=YES
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=120
PartitionName=high PriorityTier=100
PartitionName=large Nodes=off-[1-{large}]
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One pretended machine: a host name, an address of the loopback interface and the port of its slurmd."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What differs from one cluster to the next. `root` holds all its files."""

    root: Path
    name: str
    host: str
    user: str
    port: int
    first_job: int
    nodes: tuple[Node, ...]
    cgroups: bool

    def files(self) -> dict[str, str]:
        """File name -> content."""
        addresses = [f"127.0.0.1 localhost {self.host}", *(f"{node.address} {node.name}" for node in self.nodes)]
        device = f"{self.root}/dev/nvidia[0-{GPUS - 1}]"
        return {
            "slurm.conf": self.slurm_conf(),
            "gres.conf": f"Name=gpu Type={GPU_TYPE} Flags=nvidia_gpu_env File={device}\n",
            "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
            "plugstack.conf": "",
            "mpi.conf": "PMIxCliTmpDirBase=/dev/shm\n",  # a node's own, else those of the nodes collide
            "hosts": "\n".join(addresses) + "\n",
        }

    def slurm_conf(self) -> str:
        """`slurm.conf`. The short times are for tests; a site has minutes where they are seconds."""
        root = self.root
        # the freezer ends what a step has left behind, as at most sites; linuxproc lets it live
        track = "cgroup" if self.cgroups else "linuxproc"
        shape = f"CPUs={CPUS} RealMemory={MEMORY} Gres=gpu:{GPU_TYPE}:{GPUS} Feature={GPU_TYPE}"
        machines = "\n".join(
            f"NodeName={node.name} NodeHostname={node.name} NodeAddr={node.address} Port={node.port} {shape}"
            for node in self.nodes
        )
        partitions = PARTITIONS.format(nodes=",".join(node.name for node in self.nodes), large=LARGE)
        return f"""\
ClusterName={self.name}
SlurmctldHost={self.host}(127.0.0.1)
SlurmctldPort={self.port}
SlurmUser={self.user}
SlurmdUser={self.user}
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool.%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
PlugStackConfig={root}/plugstack.conf
ProctrackType=proctrack/{track}
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
FirstJobId={self.first_job}
ReturnToService=2
JobRequeue=1
KillWait=30
MinJobAge=3600
SlurmctldTimeout=10
SlurmdTimeout=10
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,sched_interval=5,bf_interval=5,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
SuspendProgram=/bin/true
ResumeProgram=/bin/true
SuspendTime=-1
{machines}
NodeName=off-[1-{LARGE}] {shape} State=CLOUD
{partitions}"""
