"""Optuna's gRPC proxy in front of a database, for more processes than the database has connections for.

The proxy passes no heartbeats on. So the process of a trial counts an attribute of the trial up, and the others see
whether it still moves. They compare no clocks.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, GrpcStorageProxy
from optuna.trial import Trial

with suppress(ImportError):  # the extra `grpc`, without which settings refuse the address of a proxy
    import grpc

SECONDS_TO_ANSWER = 5.0
"""So long a proxy may take to answer for the first time; one that takes longer later on was away."""

ATTEMPTS = 5
"""So often a call is made that fails in the proxy: its database may have been restarted in that moment."""

BEAT = "beat"
"""The attribute of a trial that its process counts up."""


def _passed_on(name: str) -> Callable[..., Any]:
    def method(self: Proxy, *arguments: Any, **options: Any) -> Any:
        return self._ask(name, *arguments, **options)

    return method


class Proxy(BaseStorage):
    """A storage behind a proxy that may go away and come back.

    A call that is cut off is made again. Where it had been done, Optuna refuses it as one of a trial that has ended,
    or makes a second trial, which no process signs and which is lost like any other.
    """

    def __init__(self, host: str, port: int, patience: float) -> None:
        """patience: seconds that a proxy is waited for which was there once.

        Raises `ConnectionError` if it is not there now, and `StorageInternalError` if it is no proxy of Optuna's.
        """
        self._address, self._patience = f"grpc://{host}:{port}", 0.0
        self._lock, self._is_away, self._has_given_up = threading.Lock(), False, False
        self._proxy = GrpcStorageProxy(host=host, port=port)
        self.back_since = time.monotonic()
        """When it answered again after it had been away."""
        self._proxy.wait_server_ready(SECONDS_TO_ANSWER)
        with suppress(KeyError):
            self.get_study_id_from_name("")
        self._patience = patience

    def close(self) -> None:
        self._proxy.close()

    create_new_study = _passed_on("create_new_study")
    delete_study = _passed_on("delete_study")
    set_study_user_attr = _passed_on("set_study_user_attr")
    set_study_system_attr = _passed_on("set_study_system_attr")
    get_study_id_from_name = _passed_on("get_study_id_from_name")
    get_study_name_from_id = _passed_on("get_study_name_from_id")
    get_study_directions = _passed_on("get_study_directions")
    get_study_user_attrs = _passed_on("get_study_user_attrs")
    get_study_system_attrs = _passed_on("get_study_system_attrs")
    get_all_studies = _passed_on("get_all_studies")
    create_new_trial = _passed_on("create_new_trial")
    set_trial_param = _passed_on("set_trial_param")
    get_trial_id_from_study_id_trial_number = _passed_on("get_trial_id_from_study_id_trial_number")
    set_trial_state_values = _passed_on("set_trial_state_values")
    set_trial_intermediate_value = _passed_on("set_trial_intermediate_value")
    set_trial_user_attr = _passed_on("set_trial_user_attr")
    set_trial_system_attr = _passed_on("set_trial_system_attr")
    get_trial = _passed_on("get_trial")
    get_all_trials = _passed_on("get_all_trials")

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        started, failures = time.monotonic(), 0
        while True:
            proxy = self._proxy
            try:
                answer = getattr(proxy, name)(*arguments, **options)
            except (grpc.RpcError, ValueError) as error:
                if proxy is not self._proxy:  # another thread has closed it
                    continue
                if not isinstance(error, grpc.RpcError):
                    raise
                is_away = error.code() is grpc.StatusCode.UNAVAILABLE
                failures += not is_away
                if is_away and not self._has_given_up and time.monotonic() - started < self._patience:
                    self._reopen(proxy)
                elif error.code() is not grpc.StatusCode.UNKNOWN or failures >= ATTEMPTS:
                    self._has_given_up = True  # what is still to be said must not wait as long again
                    reason = f"{error.code().name}: {error.details()}"
                    raise StorageInternalError(f"{self._address} failed ({reason})") from error
                time.sleep(1)
            else:
                now = time.monotonic()
                if self._is_away or self._has_given_up or now - started > SECONDS_TO_ANSWER:
                    self._is_away, self._has_given_up, self.back_since = False, False, now
                return answer

    def _reopen(self, proxy: GrpcStorageProxy) -> None:
        """Take a new channel: an old one is tried at ever longer intervals, of up to two minutes."""
        with self._lock:
            if proxy is not self._proxy:
                return
            if not self._is_away:
                limit = f"{self._patience / 60:.0f} minutes at most"
                print(f"The sweep's database does not answer at {self._address}; waiting for it, {limit}.", flush=True)
            self._is_away, self._proxy = True, copy.copy(proxy)
            proxy.close()


@contextmanager
def beating(trial: Trial, interval: float) -> Iterator[None]:
    """Within, the trial's attribute `BEAT` moves every `interval` seconds, as long as the trial runs."""
    trial.set_user_attr(BEAT, 0)
    has_ended = threading.Event()

    def beat() -> None:
        number = 0
        while not has_ended.wait(interval):
            number += 1
            try:
                trial.set_user_attr(BEAT, number)
            except UpdateFinishedTrialError:
                return
            except Exception:  # the trial's own calls meet it as well, and say what it is
                continue

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join(1)  # it may be waiting for a proxy that is away
