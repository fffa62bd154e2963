"""Which of several processes this one is, by the variables of the launcher that started them; and the processors."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from emdenoise.errors import SettingsError

HEARTBEAT_S = 20
"""How long JAX waits for the sign of life of a process before it ends the others [s]."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one network together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0; process 0 writes what is kept.
    size : int
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_leader(self) -> bool:
        """Whether this process writes what is kept."""
        return self.rank == 0

    def describe(self) -> str:
        """Say how many processes there are."""
        return f"{self.size} processes" if self.size > 1 else "one process"

    def find_share(self, num_items: int) -> slice:
        """Find the part of some items that is this process's own; parts differ by one item at most."""
        first, last = (num_items * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(first, last)


ALONE = ProcessGroup()


def find_processes(environment: Mapping[str, str] = os.environ) -> ProcessGroup:
    """Find rank and size in the variables of the launcher: ``TF_CONFIG``, JAX's own, or a job step of Slurm.

    Parameters
    ----------
    environment : mapping

    Returns
    -------
    ProcessGroup
        One process where no launcher says anything.

    Raises
    ------
    SettingsError
        If a variable cannot be read.

    Examples
    --------
    >>> find_processes({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3"})
    ProcessGroup(rank=3, size=4)
    """
    try:
        if "TF_CONFIG" in environment:
            return _read_tf_config(environment["TF_CONFIG"])
        for rank, size in (("JAX_PROCESS_ID", "JAX_NUM_PROCESSES"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
            if rank in environment and size in environment:
                return _make_group(int(environment[rank]), int(environment[size]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(
            f"the launcher's variables do not say which process this is ({error}); "
            "expected TF_CONFIG, JAX_PROCESS_ID and JAX_NUM_PROCESSES, or a job step of Slurm."
        ) from error
    return ALONE


def count_processors() -> int:
    """Count the processors that this process may use; where the system does not tell (macOS), all that there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_tf_config(text: str) -> ProcessGroup:
    config = json.loads(text)
    workers, own = config["cluster"]["worker"], config["task"]
    if own["type"] != "worker":
        raise ValueError(f"task type {own['type']} in TF_CONFIG; only workers take part")
    return _make_group(int(own["index"]), len(workers))


def _make_group(rank: int, size: int) -> ProcessGroup:
    if not 0 <= rank < size:
        raise ValueError(f"process {rank} of {size}, counted from 0")
    return ProcessGroup(rank, size)


def join_processes(num_processes: int) -> ProcessGroup:
    """Find the other processes of a training; must come before Keras is imported.

    Parameters
    ----------
    num_processes : int
        How many the settings ask for.

    Returns
    -------
    ProcessGroup

    Raises
    ------
    SettingsError
        If the launcher started another number of processes.
    """
    group = find_processes()
    if group.size != num_processes:
        raise SettingsError(
            f"num_processes is {num_processes}, the launcher started {group.size}; "
            f"set num_processes to {group.size}, or start {num_processes}."
        )
    if group.size > 1 and os.environ.get("KERAS_BACKEND") == "jax":
        import jax

        jax.config.update("jax_cpu_collectives_implementation", "gloo")  # else processes without GPU cannot talk
        jax.distributed.initialize(  # which finds the address in JAX_COORDINATOR_ADDRESS or Slurm's variables
            num_processes=group.size, process_id=group.rank, heartbeat_timeout_seconds=HEARTBEAT_S
        )
    return group
