"""People's own pictures of digits, brought to the form of the data: 28 x 28, ink bright, centred as MNIST is.

The rule is MNIST's own (LeCun et al., Proc. IEEE 86(11), 1998, section III.A): the digit is scaled, in its own
proportions, into a box of 20 x 20 pixels, and its centre of mass is put into the middle of 28 x 28. What stands before
that is for pictures that are no scans: paper is taken away, and ink is found and made bright.
"""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from mnist_cnn.data.dataset import IMAGE_SHAPE
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.fields import cut, shown
from mnist_cnn.settings.predicting import ENDINGS, PredictSettings

FORMATS = ("PNG", "JPEG")

TURNED = range(2, 9)
"""Orientations of the EXIF tag that turn a picture; 1 is upright, and others say nothing."""

LONGEST = 320
"""Pixels of a picture's longer side that are worked with; a larger picture is made smaller first."""

BOX = 20
"""Pixels of the longer side of the digit: MNIST's."""

PAPER_SIZE = 64
"""Pixels of the longer side of the picture that the paper is fitted to: it has no details but edges of shadows."""

PAPER_ROUNDS = 8
INSIDE = 0.85
"""Of the way from the middle of a picture to its edge; beyond that is paper for the most part."""

MORE_PARTED = 0.02
"""By how much of the variance a plane must part ink from paper better than one grey does, and a bowl than a plane."""

WINDOWS = (9, 15)
"""Pixels of the picture of `PAPER_SIZE`: strokes that are thinner are closed over where light has no simple form."""

MORE_PARTED_BY_WINDOW = 0.05
"""The same as `MORE_PARTED` for paper found in windows: it follows a shadow, but also takes a part of bold strokes."""

NOISE_FACTOR = 3.0
"""Grey levels within so many standard deviations of the paper's noise are paper."""

LEAST_INK = 0.06
"""Contrast of ink and paper, as a share of the range, below which nothing is drawn."""

FAINT = 0.15
"""Of a stroke's darkness: fainter edges may stand out of the box, as in MNIST."""

SPECK = 0.04
"""A spot is dirt if its area is a smaller share of the largest spot's."""

SHARP = 0.4
"""A spot is a shadow if its sharpest edge is a smaller share of the sharpest of all."""

THINNEST = 1.7
"""Pixels in the box of 20 that a stroke has at least, on the average; thinner ones are made thicker."""

Grey = NDArray[np.float32]
"""(height, width) in [0, 1], 1 white."""


class PictureError(ValueError):
    """A file is no picture of a digit; the message says why."""


@dataclass(frozen=True)
class Picture:
    """A picture as given, in grey. pixels: (height, width), the longer side at most `LONGEST`. done: in words."""

    pixels: Grey
    done: tuple[str, ...]


@dataclass(frozen=True)
class Prepared:
    """A picture in the form of the data. image: (28, 28, 1) float32 in [0, 1], ink bright. done: in words."""

    image: NDArray[np.float32]
    done: tuple[str, ...]


def find(settings: PredictSettings) -> list[Path]:
    """The pictures of the folder, at least one. Raises `SettingError`."""
    folder = settings.images
    path = Path(folder)
    if not os.path.exists(path):  # which is False for a name that no file can have
        raise SettingError(
            f"`images` must be a folder; there is none at {shown(folder)} (looked for in {os.getcwd()}; give the whole "
            "path)."
        )
    if not path.is_dir():
        raise SettingError(f"`images` must be a folder; {shown(folder)} is a file. Give the folder that it is in.")
    found = settings.files()
    if not found:
        raise SettingError(f"`images`: the folder {shown(folder)} holds no file that ends in {', '.join(ENDINGS)}.")
    return found


def read(path: Path) -> Picture:
    """A PNG or JPEG of any size and mode, in grey, turned as its EXIF tag says. Raises `PictureError`.

    Transparency is filled: with what contrasts with a drawing on nothing, else with the paper's grey. A picture of
    more pixels than Pillow's `MAX_IMAGE_PIXELS` is refused before it is unpacked.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags and palettes
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                size = image.size
                if image.mode != "CMYK":
                    image.draft(None, (2 * LONGEST, 2 * LONGEST))
                image.load()
                turned = ImageOps.exif_transpose(image)
                grey, done = _grey(turned)
                done = (*(["turned as its EXIF tag says"] if image.getexif().get(0x0112) in TURNED else []), *done)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        most = Image.MAX_IMAGE_PIXELS or 0
        raise PictureError(f"it has too many pixels; at most {most / 1e6:.0f} million are unpacked") from error
    except UnidentifiedImageError as error:
        raise PictureError("it is no PNG or JPEG file, or it was cut short") from error
    except Exception as error:  # of a damaged file anything may be raised
        raise PictureError(f"it cannot be read ({cut(str(error) or type(error).__name__, 100)})") from error
    return Picture(grey, (f"{size[0]} x {size[1]} pixels", *done))


def prepare(picture: Picture) -> Prepared:
    """The digit of a picture in the form of the data. Raises `PictureError` where nothing is drawn."""
    paper = _paper(picture.pixels)
    residual = picture.pixels - paper
    is_bright = float((residual.astype(np.float64) ** 3).sum()) > 0  # ink is the rarer, and far from paper
    # Dark ink takes away a share of the light, whatever there is of it.
    ink = np.maximum(residual if is_bright else -residual / np.maximum(paper, 0.1), 0)
    mask = ink > _otsu(ink)[0]
    level = float(np.quantile(ink[mask], 0.7)) if mask.any() else 0.0
    if level < LEAST_INK or not mask.any():
        raise PictureError("nothing is drawn on it")
    done = ["bright ink" if is_bright else "dark ink, made bright"]
    if np.ptp(paper) > LEAST_INK:
        done.append("uneven paper taken away")
    noise = min(NOISE_FACTOR * 1.4826 * float(np.median(ink[~mask])), 0.5 * level) if not mask.all() else 0.0
    kept, num_spots = _without_dirt(mask, ink)
    if num_spots:
        done.append(f"{num_spots} spots removed" if num_spots > 1 else "a spot removed")
    near = ndimage.maximum_filter(kept, 2 * max(1, round(max(ink.shape) / IMAGE_SHAPE[0])) + 1)
    ink = np.where(near, np.clip((ink - noise) / (level - noise), 0, 1), 0).astype(np.float32)
    (box,) = ndimage.find_objects((ink > FAINT).astype(int))
    inner, scale = ink[box], BOX / max(ink[box].shape)
    width = scale * _stroke_width(kept[box])
    if width < THINNEST:
        inner = _thicker(inner, (THINNEST - width) / scale)
        done.append("strokes made thicker")
    return Prepared(_centred(_scaled(inner))[..., np.newaxis], (*picture.done, *done))


def _grey(image: Image.Image) -> tuple[Grey, tuple[str, ...]]:
    """The picture in grey, its longer side at most `LONGEST`, and what was done to transparency."""
    done: tuple[str, ...] = ()
    values: NDArray[np.floating]
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float32) / 65535
    elif image.has_transparency_data:
        whole = image.convert("RGBA")
        whole.thumbnail((LONGEST, LONGEST))
        values = np.asarray(whole.convert("RGB").convert("L"), np.float32) / np.float32(255)
        alpha = np.asarray(whole.getchannel("A"), np.float32) / np.float32(255)
        if alpha.min() < 1:
            values = alpha * values + (1 - alpha) * _behind(values, alpha)
            done = ("transparency filled",)
    else:
        values = np.asarray(image.convert("RGB").convert("L") if image.mode != "L" else image, np.float32) / 255
    small: Any = Image.fromarray(values.astype(np.float32))
    small.thumbnail((LONGEST, LONGEST))
    return np.clip(np.asarray(small, np.float32), 0, 1), done


def _behind(values: NDArray[np.floating], alpha: NDArray[np.floating]) -> float:
    """The grey to fill transparency with. A picture that is opaque for the most part has paper of its own."""
    opaque = alpha > 0.5
    if opaque.mean() > 0.5:
        return float(np.median(values[opaque]))
    return 1.0 if not opaque.any() or np.average(values, weights=alpha) < 0.5 else 0.0


def _paper(pixels: Grey) -> Grey:
    """What the picture would be without ink. Of several papers it is the one that parts ink best.

    A grey, a plane or a bowl of greys is tried first. Under a shadow none of them fits. So each stroke is then covered
    with the grey around it: dark strokes by a closing, bright ones by an opening (Serra, Image Analysis, 1982).
    """
    height, width = pixels.shape
    small = Image.fromarray(pixels)
    small.thumbnail((PAPER_SIZE, PAPER_SIZE), Image.Resampling.BOX)
    values = np.asarray(small, np.float64)
    papers = [(_fitted(values, num_terms), MORE_PARTED) for num_terms in (1, 3, 6)]
    for window in WINDOWS:
        for covered in (ndimage.grey_closing(values, (window, window)), ndimage.grey_opening(values, (window, window))):
            papers.append((ndimage.gaussian_filter(covered, 1), MORE_PARTED_BY_WINDOW))
    best, paper = -1.0, values
    for tried, margin in papers:
        parted = _otsu(np.abs(values - tried))[1]
        if parted > best + margin:
            best, paper = parted, tried
    whole = Image.fromarray(paper.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(whole, np.float32)


def _fitted(values: NDArray[np.float64], num_terms: int) -> NDArray[np.float64]:
    """A polynomial of the place, by least squares, fitted to the pixels that are near to it, round after round."""
    y, x = ((2 * np.arange(size) + 1) / size - 1 for size in values.shape)
    y, x = (axis.ravel() for axis in np.meshgrid(y, x, indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y][:num_terms], axis=1)
    known = values.ravel()
    outwards = np.maximum(abs(x), abs(y))
    fitted = np.full(known.size, np.median(known[outwards >= min(INSIDE, outwards.max())]))  # paper for the most part
    for _ in range(PAPER_ROUNDS):
        distance = np.abs(known - fitted)
        is_near = distance <= max(2.5 * 1.4826 * float(np.median(distance)), 0.02)
        near = terms[is_near]
        weights = np.linalg.solve(near.T @ near + 1e-6 * np.eye(num_terms), near.T @ known[is_near])
        fitted = np.clip(terms @ weights, known.min(), known.max())
    return fitted.reshape(values.shape)


def _otsu(values: NDArray[np.floating]) -> tuple[float, float]:
    """The threshold that parts values best in two, and how well: the share of their variance that is between the two.

    Otsu, IEEE Trans. SMC 9(1), 1979.
    """
    counts, edges = np.histogram(values, 256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    means = sums[:-1] / np.maximum(below, 1), (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * (means[0] - means[1]) ** 2 / counts.sum() ** 2
    return float(edges[1:-1][between.argmax()]), float(between.max() / max(float(np.var(values)), 1e-12))


def _without_dirt(mask: NDArray[np.bool_], ink: Grey) -> tuple[NDArray[np.bool_], int]:
    """The spots of ink that are neither specks nor shadows, and how many were."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    edges = ndimage.maximum(ndimage.gaussian_gradient_magnitude(ink, 1), labels, numbers)
    is_large = areas >= SPECK * areas.max()
    is_sharp = edges >= SHARP * edges[is_large].max()
    is_ink = is_sharp & (areas >= SPECK * areas[is_sharp].max())
    return np.concatenate([[False], is_ink])[labels], int(count - is_ink.sum())


def _stroke_width(mask: NDArray[np.bool_]) -> float:
    """Pixels, on the average: across a stroke the mean distance to its edge is a quarter of its width."""
    return 4 * float(ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask].mean()) - 1


def _thicker(ink: Grey, by: float) -> Grey:
    """Strokes wider by so many pixels."""
    radius = math.ceil(by / 2)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x * x + y * y <= (by / 2 + 0.5) ** 2
    return ndimage.grey_dilation(np.pad(ink, radius), footprint=disc)


def _scaled(ink: Grey) -> Grey:
    """The longer side `BOX` pixels."""
    scale = BOX / max(ink.shape)
    size = [max(1, round(scale * side)) for side in ink.shape[::-1]]
    small = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC), np.float32)
    return np.clip(small / max(float(np.quantile(small, 0.98)), 0.5), 0, 1)


def _centred(ink: Grey) -> Grey:
    """(28, 28): the centre of mass in the middle, as far as the digit stays within."""
    height, width = ink.shape
    canvas = np.zeros(IMAGE_SHAPE[:2], np.float32)
    y, x = ndimage.center_of_mass(ink)
    top, left = (
        min(max(round(side / 2 - middle), 0), side - own)
        for side, middle, own in zip(canvas.shape, (y, x), (height, width), strict=True)
    )
    canvas[top : top + height, left : left + width] = ink
    return canvas
