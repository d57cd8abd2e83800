"""The base of all settings: a frozen model whose limits hold in Python and at a shell alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import pydantic
from pydantic.fields import FieldInfo

from mnist_cnn.settings import command_line, fields
from mnist_cnn.settings.errors import SettingError, hide_password


class Settings(pydantic.BaseModel):
    """Base of all settings. Construction takes keywords and raises `SettingError`, in one line."""

    model_config = pydantic.ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), defer_build=True
    )

    COMMAND: ClassVar[str] = ""
    """Named in the head of each class of a command: `class TrainSettings(Settings, command="train")`."""
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    MOVED: ClassVar[Mapping[str, str]] = {}
    """Settings of earlier releases that are commands now: by name, the command that takes its place."""

    _given: frozenset[str] = pydantic.PrivateAttr(default=frozenset())

    def __init_subclass__(cls, command: str = "", **config: Any) -> None:
        super().__init_subclass__(**config)
        cls.COMMAND = command or cls.COMMAND

    def __init__(self, **values: Any) -> None:
        cls = type(self)
        cls._refuse_unknown(values, [*cls.names(), *cls.model_fields])
        try:
            super().__init__(**cls._completed(values))
        except pydantic.ValidationError as error:
            cls._refuse(error, values)
        self._given = cls._names_in(values)

    @classmethod
    def _completed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """What was given, over what its preset gives."""
        preset = values.get("preset")
        return {**(cls.PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **values}

    @classmethod
    def _names_in(cls, values: Mapping[str, Any]) -> frozenset[str]:
        return frozenset(values)

    @pydantic.field_validator("*", mode="wrap")
    @classmethod
    def _check(cls, value: Any, check: pydantic.ValidatorFunctionWrapHandler, info: pydantic.ValidationInfo) -> Any:
        """Read words, take numpy's numbers as Python's, check per-image entries and texts."""
        name = str(info.field_name)
        field = cls.model_fields[name]
        known = fields.read(field, value) if isinstance(value, fields.Word) else fields.plain(value)
        if fields.PER_IMAGE not in field.metadata or not fields.is_sequence(known):
            known = check(known)
            if isinstance(known, str):
                fields.check_text(field, known)
            return known
        if not len(known):
            raise SettingError(f"`{name}` must hold at least one number; got none.")
        for index, entry in enumerate(known):
            try:
                check(fields.plain(entry))
            except pydantic.ValidationError:
                got = f"{fields.shown(entry)}. (Entry {index} of {len(known)}.)"
                raise SettingError(f"`{name}` must be {fields.allowed(field)}; got {got}") from None
        return value

    @classmethod
    def _refuse_unknown(cls, given: Mapping[str, Any], known: Iterable[str]) -> None:
        for name in (name for name in given if name not in known):
            if name in cls.MOVED:
                raise SettingError(f"`{name}` is a command of its own now: mlflow run . -e {cls.MOVED[name]}")
            hint = fields.did_you_mean(name, cls.names(), "`")
            hint = hint or f" python -m pipelines {cls.COMMAND} --help lists them."
            raise SettingError(
                f"`{fields.cut(repr(name)[1:-1])}` is not a setting of `{cls.COMMAND or cls.__name__}`; "
                f"got {fields.shown(given[name])}.{hint}"
            )

    @classmethod
    def _refuse(cls, error: pydantic.ValidationError, values: Mapping[str, Any]) -> NoReturn:
        """Raise the first of pydantic's errors as a `SettingError` in our words."""
        first = error.errors(include_url=False)[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, SettingError):
            raise cause from None
        name = str(first["loc"][0])
        field = cls.model_fields[name]
        if first["type"] == "missing":
            what = field.description or ""
            what = what if what[1:2].isupper() else what[:1].lower() + what[1:]
            raise SettingError(f"`{name}` must be given: {what}") from None
        value, reason = values.get(name, first["input"]), fields.cut(str(cause or ""), 160)
        hint = f" {reason[0].upper()}{reason[1:]}." if reason else ""
        if isinstance(value, str) and fields.choices(field):
            hint = fields.did_you_mean(value, fields.choices(field))
        raise SettingError(f"`{name}` must be {fields.allowed(field)}; got {fields.shown(value)}.{hint}") from None

    @classmethod
    def from_words(cls, words: Mapping[str, str]) -> Self:
        """Settings from texts, as a command line or a file gives them. Raises `SettingError`."""
        cls._refuse_unknown(words, cls.names())
        return cls(**{name: fields.Word(word) for name, word in words.items()})

    @classmethod
    def from_command_line(cls, argv: Sequence[str]) -> Self:
        """Settings from `--name value` words. `--help` prints a page and exits with status 0."""
        if {"-h", "--help"} & {*argv}:
            print(cls.help())
            raise SystemExit(0)
        return cls.from_words(command_line.pairs(argv, cls.COMMAND))

    @classmethod
    def names(cls) -> list[str]:
        """Every setting that a command line may give."""
        return list(cls.model_fields)

    @classmethod
    def fields_of(cls, words: Mapping[str, str]) -> Mapping[str, FieldInfo]:
        """The fields that these words are of, by name."""
        return cls.model_fields

    @classmethod
    def help(cls) -> str:
        """The page that `--help` prints."""
        return command_line.help_page(cls)

    @property
    def given(self) -> frozenset[str]:
        """Names of what the caller gave; what a preset gives is not among them."""
        return self._given

    def replace(self, **changes: Any) -> Self:
        """These settings with some values changed, and checked again."""
        changed = type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})
        changed._given = self._given | type(self)._names_in(changes)
        return changed

    def files(self) -> list[Path]:
        """Files besides the data set that the numbers depend on: those that are there."""
        return []

    def values(self, *, secrets: bool = False) -> dict[str, Any]:
        """Every value by name, arrays as lists. secrets: with the password of a storage's address."""
        shown = {}
        for name, field in type(self).model_fields.items():
            value = fields.plain(getattr(self, name))
            if fields.ADDRESS in field.metadata and not secrets:
                value = hide_password(value)
            shown[name] = list(value) if fields.is_sequence(value) else value
        return shown

    def as_words(self, *, secrets: bool = False) -> dict[str, str]:
        """Every setting as the word that gives it on a command line, which refuses the empty ones."""
        values = self.values(secrets=secrets)
        space: dict[str, str] = values.pop("space", {})
        return {name: fields.show(value) for name, value in values.items()} | space

    def command_line(self, *, as_mlflow: bool = True) -> str:
        """The command that gives these settings, quoted for a shell. Passwords are left out."""
        return command_line.command(type(self).COMMAND, self.named_words(), as_mlflow)

    def named_words(self) -> dict[str, str]:
        """What a command line must name: what differs from the defaults of the same preset, and what is required."""
        usual = self._usual_words()
        return {name: word for name, word in self.as_words().items() if word != usual.get(name)}

    def _usual_words(self) -> dict[str, str]:
        known = type(self).model_fields
        required = [name for name, field in known.items() if field.is_required()]
        preset = [name for name in known if name == "preset"]
        usual = type(self)(**{name: getattr(self, name) for name in (*required, *preset)}).as_words()
        usual |= {name: fields.show(known[name].default) for name in preset}
        return {name: word for name, word in usual.items() if name not in required}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.values(secrets=True) == other.values(secrets=True)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return self.values().items()
