"""What can be asked: fields, units, limits, and the grammars of targets and search spaces.

pydantic and the standard library are all that is imported, so that `--help` and every refusal are instant.
"""

# What is imported here is for others to import.
# ruff: noqa: F401
# mypy: implicit-reexport

from mnist_cnn.settings.errors import (
    Interrupted,
    Notice,
    SettingError,
    WorkStopped,
    hide_password,
    is_of_a_store,
    one_line,
)
from mnist_cnn.settings.exporting import ExportSettings
from mnist_cnn.settings.fields import REGIMES, PerImage, PerImageInt, show
from mnist_cnn.settings.judging import PANEL_A, PANEL_B, PANELS, AblationSettings, JudgesSettings
from mnist_cnn.settings.predicting import PredictSettings
from mnist_cnn.settings.registering import RegisterSettings, RollbackSettings
from mnist_cnn.settings.repeating import AgainSettings, DiffSettings, SeedsSettings
from mnist_cnn.settings.reproducing import ReproduceSettings
from mnist_cnn.settings.searching import (
    OBJECTIVES,
    STARTS,
    AscentSettings,
    ExperimentsSettings,
    OptimizeSettings,
    ReplaySettings,
)
from mnist_cnn.settings.sending import SendSettings
from mnist_cnn.settings.settings import Settings
from mnist_cnn.settings.sweeps import (
    JUDGED,
    MAXIMISED,
    CompareSettings,
    SweepFileSettings,
    SweepSettings,
    SweepTrainingSettings,
    goals,
    sign,
)
from mnist_cnn.settings.teaching import TeachSettings
from mnist_cnn.settings.training import NETWORKS, SCHEDULES, EvaluateSettings, ResumeSettings, TrainSettings
from mnist_cnn.settings.verdict import VerdictSettings

_COMMANDS: tuple[type[Settings], ...] = (
    TrainSettings, ResumeSettings, EvaluateSettings, PredictSettings, OptimizeSettings, ReplaySettings,
    ExperimentsSettings, JudgesSettings, AblationSettings, TeachSettings, VerdictSettings, SweepSettings,
    SweepFileSettings, SweepTrainingSettings, CompareSettings, RegisterSettings, RollbackSettings, AgainSettings,
    SeedsSettings, DiffSettings, ExportSettings, SendSettings, ReproduceSettings,
)  # fmt: skip

ENTRY_POINTS = {cls.COMMAND: cls for cls in _COMMANDS}
"""The settings of each command, by its name."""
