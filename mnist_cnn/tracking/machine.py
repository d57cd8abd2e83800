"""What the machine does while a run works: processor, memory and accelerators, by the names that MLflow's UI groups."""

from __future__ import annotations

import time
from typing import Any

from mlflow.entities import Metric
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

PREFIX = "system/"


class Machine:
    """Takes a sample at each call of `metrics`; the processor's share is that since the call before."""

    def __init__(self) -> None:
        self._monitors: list[Any] = [CPUMonitor()]
        try:
            self._monitors.append(GPUMonitor())
        except (ImportError, RuntimeError):  # no nvidia-ml-py, or no accelerator
            pass
        for monitor in self._monitors:  # the first sample of the processor says nothing
            monitor.collect_metrics()
            monitor.clear_metrics()
        self.num_samples = 0

    def metrics(self) -> list[Metric]:
        """A new point of each number, in percent, megabytes (10^6 bytes) and watts."""
        now, found = int(time.time() * 1000), []
        for monitor in self._monitors:
            monitor.collect_metrics()
            values = monitor.aggregate_metrics()
            found += [Metric(f"{PREFIX}{name}", value, now, self.num_samples) for name, value in values.items()]
            monitor.clear_metrics()
        self.num_samples += 1
        return found
