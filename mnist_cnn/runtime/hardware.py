"""Start TensorFlow quietly, on an accelerator where there is one, and say on what and with what a run ran."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import psutil

VERSIONED = ("tensorflow", "keras", "numpy", "scikit-learn", "optuna", "mlflow", "matplotlib")


@cache
def start_tensorflow() -> str:
    """Import TensorFlow, let accelerators take memory as they need it, and name the device that will be used."""
    # Native code's log alone. What goes wrong is raised; what it calls an error may be none: on some processors oneDNN
    # says of each program that it has no integers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _standard_error_held_back():
        import tensorflow as tf

        # It warns that functions are traced again: each choice of terms is a function of its own, and kept.
        tf.get_logger().setLevel("ERROR")
        accelerators = tf.config.list_physical_devices("GPU")
        for accelerator in accelerators:
            tf.config.experimental.set_memory_growth(accelerator, True)
        # Else float32 is rounded to ten bits in products, and small differences between images are lost.
        tf.config.experimental.enable_tensor_float_32_execution(False)
    if not accelerators:
        return f"CPU: {_processor()}"
    names = [tf.config.experimental.get_device_details(one).get("device_name", one.name) for one in accelerators]
    return "GPU: " + ", ".join(names)


def describe(device: str, versioned: Sequence[str] = VERSIONED) -> dict[str, str]:
    """Hardware and versions as tags of a run."""
    return {
        "hardware.device": device,
        "hardware.processor": _processor(),
        "hardware.cores": str(len(psutil.Process().cpu_affinity() or range(os.cpu_count() or 1)))
        if hasattr(psutil.Process, "cpu_affinity")
        else str(os.cpu_count()),
        "hardware.memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "version.python": platform.python_version(),
        "version.platform": platform.platform(),
        **{f"version.{name}": version(name) for name in versioned},
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@contextmanager
def _standard_error_held_back() -> Iterator[None]:
    """Keep back what native code writes to standard error (notes on missing CUDA libraries), unless an import fails.

    TensorFlow writes them before its own log level applies: https://github.com/tensorflow/tensorflow/issues/100442
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
