"""What goes wrong in a simulated cluster, and how often.

Each kind is one that was seen on real clusters.  Probabilities are per command or per job.
"""

from __future__ import annotations

import math

import attrs


@attrs.frozen(kw_only=True)
class Faults:
    """How often what goes wrong; nothing does by default.

    Attributes:
        sbatch_fails: sbatch fails at once, and nothing was submitted.
        sbatch_lies: sbatch fails with a time-out of its socket, and the job was submitted all the same.
        sbatch_hangs: sbatch never answers; the job is there or not.
        sbatch_repeats: sbatch fails with a time-out of its socket, was tried again, and there are two jobs;
            the second one does not start at once, and squeue tells no lies meanwhile.
        limit_is_used_up: sbatch refuses, since the user may have no more jobs for now.
        sbatch_is_slow: sbatch takes up to four minutes.
        question_fails: squeue or sacct fails.
        question_hangs: squeue or sacct never answers.
        squeue_is_stale: squeue gives its previous answer, if that is not too old.
        squeue_is_empty: squeue gives a table without rows, not again before it has told the truth twice.
        squeue_is_cut: squeue's answer ends in the middle of a line.
        outage_every_s: mean time between outages of the controller; infinite: none.
        outage_most_s: the longest of them.
        accounting_outage_every_s: the same for the accounting.
        accounting_lag_most_s: longest time until a job's end is in the accounting.
        controller_forgets: at the end of an outage the controller has lost a job it had just taken.
        node_fails_every_s: mean time between failures of a node.
        node_repair_most_s: longest time until it is back.
        requeued_on_failure: a job on a failed node is queued again (else it ends with NODE_FAIL).
        preempted: a running job is preempted, by requeue or by cancel.
        held: a job is held in the queue for hours.
        vanishes: a job ends without a trace: no record, nothing in queue or accounting.
    """

    sbatch_fails: float = 0.0
    sbatch_lies: float = 0.0
    sbatch_repeats: float = 0.0
    sbatch_hangs: float = 0.0
    limit_is_used_up: float = 0.0
    sbatch_is_slow: float = 0.0
    question_fails: float = 0.0
    question_hangs: float = 0.0
    squeue_is_stale: float = 0.0
    squeue_is_empty: float = 0.0
    squeue_is_cut: float = 0.0
    outage_every_s: float = math.inf
    outage_most_s: float = 4 * 3600.0
    accounting_outage_every_s: float = math.inf
    accounting_lag_most_s: float = 0.0
    controller_forgets: float = 0.0
    node_fails_every_s: float = math.inf
    node_repair_most_s: float = 3600.0
    requeued_on_failure: float = 0.5
    preempted: float = 0.0
    held: float = 0.0
    vanishes: float = 0.0


NO_FAULTS = Faults()
