"""What people see in images: which are shown to them, what they answered, and how often they are right.

People are asked as the judges are, and know no more: an image, one of ten digits, or that it cannot be told.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_cnn.data.dataset import DIGITS
from mnist_cnn.data.intervals import Share, named, wilson_interval
from mnist_cnn.runtime.randomness import generator
from mnist_cnn.settings.targets import MNIST_CLASSES

GROUPS = ("dreamed", "real", "controls")
"""Images from noise; real digits; images that a network is sure of and judges do not recognise."""

CANNOT_TELL = -1
KEYS = MNIST_CLASSES
"""Of the page, one for each class."""

FORM = "verdict1"
"""Begins each line of answers, with the version of its form."""

LINE = re.compile(rf"{FORM}\.([0-9a-f]{{12}})\.([0-9a-f]{{8}})\.([0-9x]+)\.([0-9a-f]{{8}})")
CONTINUED = re.compile(r"[>\s]*([0-9a-fx.]+=?)")
"""How a line goes on that was wrapped, also where it is quoted, or wrapped as quoted-printable."""

MOST_WRAPPED = 100
"""Lines over which the answers to 3,000 images may be wrapped."""

RESAMPLES = 2000

Images = NDArray[np.uint8]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Exhibit:
    """n images in the order in which they are shown, and the truth about them.

    images: (n, 28, 28) uint8. groups: (n,) places in `GROUPS`. targets: (n,) classes from 0 to 9. class_names: ten.
    """

    images: Images
    groups: Numbers
    targets: Numbers
    class_names: tuple[str, ...] = DIGITS

    def page_id(self, salt: str) -> str:
        """12 hexadecimal digits that tell this page from others; they hold nothing of the truth."""
        return hashlib.sha256(salt.encode() + self.images.tobytes()).hexdigest()[:12]

    @classmethod
    def of(
        cls,
        parts: Mapping[str, tuple[Images, NDArray[np.integer]]],
        seed: int,
        class_names: tuple[str, ...] = DIGITS,
    ) -> Exhibit:
        """All images of the parts, by their group, in an order that is drawn. A part: (m, 28, 28) and (m,) digits.

        The seed and the images say the order: the seed alone would give every page the same key.
        """
        images = np.concatenate([own for own, _ in parts.values()])
        targets = np.concatenate([own for _, own in parts.values()]).astype(np.int64)
        groups = np.repeat([GROUPS.index(name) for name in parts], [len(own) for own, _ in parts.values()])
        order = generator(seed, "order of the page", _digest(images)).permutation(len(images))
        return cls(images[order], groups[order], targets[order], class_names)


def choose(images: NDArray[np.generic], targets: NDArray[np.integer], count: int, seed: int, purpose: str) -> Numbers:
    """Places of `count` images that are drawn, of each class as many as of any other, as far as there are.

    images: (n, ...), to choose from; other images give another draw. targets: (n,).
    Raises ValueError where there are fewer images.
    """
    if len(targets) < count:
        raise ValueError(f"{count} images are wanted, and there are {len(targets)}")
    random = generator(seed, purpose, _digest(images))
    classes = random.permutation(np.unique(targets))
    own = [random.permutation(np.flatnonzero(targets == number)) for number in classes]
    turns = [(turn, place, part[turn]) for place, part in enumerate(own) for turn in range(len(part))]
    return np.array([index for _, _, index in sorted(turns)[:count]], np.int64)


def _digest(images: NDArray[np.generic]) -> str:
    return hashlib.sha256(images.tobytes()).hexdigest()


def line(page: str, person: str, answers: str) -> str:
    """The line of a person's answers, one letter an image: 0 to 9, or x for `cannot tell`. The page makes the same."""
    begin = f"{FORM}.{page}.{person}.{answers}"
    return f"{begin}.{zlib.crc32(begin.encode()):08x}"


@dataclass(frozen=True)
class Answers:
    """What p people said of n images. said: (p, n), a digit or `CANNOT_TELL`.

    skipped: number and reason of each line of the file that does not count.
    """

    people: tuple[str, ...]
    said: Numbers
    skipped: tuple[tuple[int, str], ...]


def page_of(text: str) -> str | None:
    """The page of the first whole line of answers; None where there is none."""
    return next((found[1] for _, _, found in _parts(text) if found), None)


def read_answers(text: str, page: str, count: int) -> Answers:
    """The answers of a page of `count` images. Of a person who answered twice, the last line counts.

    Two lines of answers may stand on one line of text, and one may be wrapped over several, as mail programs do.
    """
    whole: dict[str, tuple[int, str]] = {}
    skipped: list[tuple[int, str]] = []
    for number, words, found in _parts(text):
        if found is None:
            torn = FORM in words
            skipped.append((number, "it is torn or was changed" if torn else "it is no line of answers"))
        elif found[1] != page:
            skipped.append((number, f"it is of another page, {found[1]}"))
        elif len(found[3]) != count:
            skipped.append((number, f"it has {len(found[3])} answers, and the page has {count} images"))
        elif found[2] in whole and whole[found[2]][1] == found[3]:
            skipped.append((number, f"it is the same as line {whole[found[2]][0]}"))
        else:
            if found[2] in whole:
                skipped.append((whole[found[2]][0], f"the same person answered again in line {number}"))
            whole[found[2]] = (number, found[3])
    said = [[CANNOT_TELL if letter == "x" else int(letter) for letter in letters] for _, letters in whole.values()]
    return Answers(tuple(whole), np.array(said, np.int64).reshape(len(whole), count), tuple(sorted(skipped)))


def _parts(text: str) -> Iterator[tuple[int, str, re.Match[str] | None]]:
    """Number of the line, words, and the answers in them where they are whole. Wrapped ones are joined before."""
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        words, end = _joined(lines, place)
        begins = [found.start() for found in re.finditer(FORM, words)]
        parts = [words[begin:after] for begin, after in zip(begins, [*begins, None][1:], strict=True)]
        for part in parts or ([words] if words.strip() else []):
            yield place + 1, part, _whole(part)
        place = end


def _joined(lines: Sequence[str], place: int) -> tuple[str, int]:
    """A line with those after it, as far as they make the last answers on it whole, and the place of the next line."""
    begin = lines[place].rfind(FORM)
    if begin >= 0 and not _whole(lines[place][begin:]):
        words = lines[place]
        for end in range(place + 1, min(place + MOST_WRAPPED, len(lines))):
            more = CONTINUED.match(lines[end])
            if more is None:
                break
            words = words.rstrip().removesuffix("=") + more[1]
            if _whole(words[begin:]):
                return words, end + 1
    return lines[place], place + 1


def _whole(words: str) -> re.Match[str] | None:
    found = LINE.match(words)
    return found if found and line(*found.groups()[:3]) == found[0] else None


@dataclass(frozen=True)
class GroupVerdict:
    """What people and judges say of the images of one group.

    people: share of answers that name the target. judges: share of images that judges recognise. cannot_tell: share of
    answers. confusion: (10, 11) answers by target and what was said, the last column `cannot tell`.
    """

    num_images: int
    people: Share
    judges: Share
    cannot_tell: float
    confusion: Numbers

    def metrics(self, name: str) -> dict[str, float]:
        """Its numbers by the names under which a run holds them."""
        return {
            **named(f"{name}_rate", self.people.rate, self.people.low, self.people.high),
            **named(f"judges_{name}_rate", self.judges.rate, self.judges.low, self.judges.high),
            f"{name}_cannot_tell_share": self.cannot_tell,
        }


def verdicts(exhibit: Exhibit, said: Numbers, recognised: NDArray[np.bool_]) -> dict[str, GroupVerdict]:
    """Of each group that is shown. said: (p, n), p at least 1. recognised: (n,), by judges."""
    found = {}
    for place, name in enumerate(GROUPS):
        own = exhibit.groups == place
        if not own.any():
            continue
        targets, answers = exhibit.targets[own], said[:, own]
        hits = int(recognised[own].sum())
        confusion = np.zeros((KEYS, KEYS + 1), np.int64)
        np.add.at(confusion, (np.broadcast_to(targets, answers.shape), answers), 1)  # the last column is that of -1
        found[name] = GroupVerdict(
            int(own.sum()), share(answers == targets), Share(hits / len(targets), *wilson_interval(hits, len(targets))),
            float((answers == CANNOT_TELL).mean()), confusion,
        )  # fmt: skip
    return found


def share(hits: NDArray[np.bool_]) -> Share:
    """Share of the answers (people, images) that are right, with a 95 % interval over other people and other images.

    Both are drawn anew, independently (the pigeonhole bootstrap; Owen, Annals of Applied Statistics 1(2), 2007): the
    answers to one image, or of one person, are alike. Where all or none are right, Wilson's interval for one person.
    """
    rate, (people, images) = float(hits.mean()), hits.shape
    if hits.all() or not hits.any():
        return Share(rate, *wilson_interval(images if hits.all() else 0, images))
    random = generator(0, "verdict by people")
    of_people = random.multinomial(people, np.full(people, 1 / people), RESAMPLES)
    of_images = random.multinomial(images, np.full(images, 1 / images), RESAMPLES)
    rates = np.einsum("rp,pi,ri->r", of_people, hits.astype(float), of_images, optimize=True) / hits.size
    low, high = np.percentile(rates, [2.5, 97.5])
    return Share(rate, float(low), float(high))


def truth(exhibit: Exhibit, recognised: NDArray[np.bool_]) -> dict[str, Sequence[Any]]:
    """A line for each image, as columns."""
    return {
        "image": list(range(1, len(exhibit.images) + 1)),
        "group": [GROUPS[place] for place in exhibit.groups.tolist()],
        "target": [exhibit.class_names[number] for number in exhibit.targets.tolist()],
        "judges_recognise": recognised.tolist(),
    }


def by_image(exhibit: Exhibit, said: Numbers, recognised: NDArray[np.bool_]) -> dict[str, Sequence[Any]]:
    """The same with the share of people who are right, and what each said."""
    return {
        **truth(exhibit, recognised),
        "people_right": (said == exhibit.targets).mean(axis=0).tolist(),
        "said": ["".join("x" if each == CANNOT_TELL else str(each) for each in own) for own in said.T.tolist()],
    }
