#!/usr/bin/env bash
# submitit: a job with a time limit of ten minutes or less that is pre-empted counts as timed out, and is not requeued.
#
# Versions: submitit 1.5.4.
# Guess: a job that is stopped in its first second was pre-empted, whatever its time limit, and is requeued.
# Seen: a job counts as timed out from the smaller of 80% of its limit and its limit less ten minutes. With a limit of
#   ten minutes or less that is from its start: a function that cannot be checkpointed ends in an error, and one that
#   can loses one of its time-outs (hydra-submitit-launcher allows none by default). From 11 minutes on it is requeued.
# Do: ask for well over ten minutes where jobs can be pre-empted, or raise max_num_timeout.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check submitit==1.5.4

"$folder/venv/bin/python" - <<'PY'
import logging
import signal
import tempfile

from submitit.core.job_environment import JobEnvironment, SignalHandler
from submitit.core.utils import DelayedSubmission, JobPaths, UncompletedJobError

logging.getLogger("submitit").setLevel(logging.ERROR)


class Cluster(JobEnvironment):
    """A cluster that only notes that a job was requeued."""

    _env = {"job_id": "CLUSTER_JOB_ID", "global_rank": "CLUSTER_RANK"}
    requeued = False

    def _requeue(self, countdown):
        self.requeued = True


class Train:
    """A function that can go on from its checkpoint."""

    def __call__(self):
        pass

    def checkpoint(self):
        return DelayedSubmission(self)


def train():
    pass


def end_of_preempted(function, minutes, time_outs):
    """Pre-empt a job in its first second, as SLURM's signal does."""
    job = DelayedSubmission(function)
    job.set_timeout(minutes, time_outs)
    cluster = Cluster()
    with tempfile.TemporaryDirectory() as folder:
        handler = SignalHandler(cluster, JobPaths(folder, "1"), job)
        try:
            handler.checkpoint_and_try_requeue(signal.SIGUSR2)
        except UncompletedJobError as error:
            end = str(error)
        except SystemExit:
            end = "requeued" if cluster.requeued else "ended"
    return end


for minutes in (5, 10, 11, 60):
    plain = end_of_preempted(train, minutes, time_outs=3)
    checkpointed = end_of_preempted(Train(), minutes, time_outs=0)
    print(f"limit of {minutes} minutes: plain function: {plain}")
    print(f"limit of {minutes} minutes, checkpoint, no time-out allowed: {checkpointed}")
    short = minutes <= 10
    assert (plain != "requeued") == short, "a short job is now judged otherwise"
    assert (checkpointed != "requeued") == short, "a short job with a checkpoint is now judged otherwise"
PY
