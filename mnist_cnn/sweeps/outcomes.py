"""How trials ended and which are retried, as their attributes say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

MOST_LOSSES = 3
"""Settings whose process was killed more often count as failed: perhaps they kill it, by the memory they take."""

PROCESS, RUN_ID, OUTCOME, LOSSES, RETRY_OF = "process", "run_id", "outcome", "losses", "retry_of"
"""Attributes of a trial: its process, its MLflow run, how it ended, how often its settings were lost before, and the
lost trial whose settings it retries."""

KILLED = "its process ended without a message (killed, or the machine stopped)"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. state: `complete`, `pruned`, `failed` or `lost`. values: of the goals of a complete one."""

    state: str
    values: tuple[float, ...] = ()
    reason: str = ""


def retried_twice(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of trials that retry what an earlier one retries: two processes found it lost at once."""
    retries = [(t.user_attrs[RETRY_OF], t.number) for t in trials if RETRY_OF in t.user_attrs]
    first = dict(reversed(retries))
    return {number for lost, number in retries if first[lost] != number}


def not_retried(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The lost ones whose settings no trial retries. Of several that retry the same, the first counts."""
    done = {t.user_attrs.get(RETRY_OF) for t in trials} | retried_twice(trials)
    return [t for t in trials if state_of(t) == "lost" and t.number not in done]


def retry_of(trial: FrozenTrial) -> FrozenTrial:
    """The settings of a lost trial, as a trial that waits.

    Like that of Optuna's `RetryHeartbeatStaleTrialCallback`, but without the attributes that name the process that is
    gone.
    """
    losses = trial.user_attrs.get(LOSSES, 0) + (OUTCOME not in trial.user_attrs)
    return optuna.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={RETRY_OF: trial.number, LOSSES: losses},
        system_attrs=trial.system_attrs,
    )


def outcome_of(trial: FrozenTrial) -> Outcome | None:
    """How a trial ended, as its process said; None before it could."""
    said = trial.user_attrs.get(OUTCOME)
    return Outcome(said["state"], tuple(said["values"]), said["reason"]) if said else None


def set_outcome(trial: Trial, outcome: Outcome) -> None:
    """Say how a trial ended. Raises `UpdateFinishedTrialError` if others took it for lost before."""
    trial.set_user_attr(OUTCOME, asdict(outcome))


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards the total: all but those that wait and those that were lost."""
    return state_of(trial) not in ("waiting", "lost")


def values_of(trial: FrozenTrial) -> tuple[float, ...]:
    """The goals of a complete trial; empty for others. (Optuna gives a pruned one the last value it reported.)"""
    return tuple(trial.values or ()) if trial.state == TrialState.COMPLETE else ()


def state_of(trial: FrozenTrial) -> str:
    """`complete`, `pruned`, `failed`, `running`, `waiting`, or `lost` for one whose settings are retried."""
    if trial.state != TrialState.FAIL:
        return trial.state.name.lower()
    outcome = outcome_of(trial)
    failed = outcome.state == "failed" if outcome else trial.user_attrs.get(LOSSES, 0) >= MOST_LOSSES
    return "failed" if failed else "lost"


def reason_of(trial: FrozenTrial) -> str:
    """Why a trial failed, was pruned or is lost; empty for others."""
    outcome, state = outcome_of(trial), state_of(trial)
    if outcome or trial.state != TrialState.FAIL:
        return outcome.reason if outcome else ""
    return f"{KILLED}, for the {MOST_LOSSES + 1}th time" if state == "failed" else f"{KILLED}; its settings are retried"
