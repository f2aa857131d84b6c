"""An array of SLURM jobs through submitit: what its jobs get, and its submission."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError


@dataclass(frozen=True, slots=True)
class SlurmResources:
    """What the jobs of an array get."""

    jobs: int = 32
    """At most so many run at a time."""
    minutes: int = 240
    """Time limit of a job."""
    cpus: int = 1
    partition: str | None = None
    """None: the cluster's default."""
    gpus: int = 0


def submit_array(
    function: Callable[..., object], calls: Sequence[tuple[Any, ...]], resources: SlurmResources, folder: Path
) -> list[Any]:
    """Submit one job for each tuple of arguments; submitit's jobs, in that order.

    Args:
        function: what each job calls.
        calls: its arguments; at least one tuple.
        resources: of each job.
        folder: for submitit's files and the jobs' logs.

    Raises:
        UserError: no SLURM here, or it does not take the jobs.
    """
    executor = _executor(resources, folder)
    try:
        with executor.batch():
            return [executor.submit(function, *arguments) for arguments in calls]
    except Exception as error:  # submitit's own and whatever sbatch says
        raise UserError(f"sbatch: {' '.join(str(error).split())}; mend the --slurm flags") from None


def _executor(resources: SlurmResources, folder: Path) -> Any:
    import submitit

    try:
        executor = submitit.SlurmExecutor(folder)
    except RuntimeError:
        raise UserError("--executor slurm: no srun here; start memobert-extract on the cluster") from None
    parameters: dict[str, Any] = {
        "job_name": "memobert-extract",
        "time": resources.minutes,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "array_parallelism": resources.jobs,
        "stderr_to_stdout": True,
        "setup": [f"export OMP_NUM_THREADS={resources.cpus}"],
    }
    if resources.partition:
        parameters["partition"] = resources.partition
    if resources.gpus:
        parameters["gpus_per_node"] = resources.gpus
    executor.update_parameters(**parameters)
    return executor
