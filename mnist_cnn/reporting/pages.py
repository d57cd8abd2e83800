"""Parts of HTML pages that hold all they need: no other file, no network; dark and light, phone and paper."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STYLE = """
:root { color-scheme: light dark; --ink: #202124; --quiet: #666c74; --line: #e3e5e8; --paper: #fff; --raised: #f6f7f9;
  --good: #1b7f4d; --bad: #b3261e; --accent: #1f5fa8; --second: #c5650a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e7ea; --quiet: #9aa1ab; --line: #33373d; --paper: #15171a; --raised: #1e2125; --good: #5cc995;
    --bad: #ff8a80; --accent: #7fb4f5; --second: #f0a35c; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1100px;
  margin: 2.5rem auto; padding: 0 1rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .3rem; } h2 { margin-top: 3rem; line-height: 1.25; }
h3 { margin: 2rem 0 .3rem; }
a { color: var(--accent); } code { font-size: .88em; overflow-wrap: anywhere; }
pre { background: var(--raised); padding: .8rem 1rem; border-radius: 8px; overflow-x: auto; font-size: 13px; }
.quiet, figcaption { color: var(--quiet); } figcaption { font-size: 14px; }
figure { margin: 1.5rem 0; } figure svg { width: 100%; height: auto; color: var(--ink); fill: var(--ink); }
img.chart { max-width: 100%; height: auto; background: #fff; padding: 10px; border-radius: 8px;
  border: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { cursor: pointer; position: sticky; top: 0; background: var(--paper); }
td.text, th.text { text-align: left; }
td.long { white-space: normal; min-width: 13rem; }
td img { image-rendering: pixelated; height: 34px; display: block; }
tr.pruned td { color: var(--quiet); } tr.failed td, tr.lost td { color: var(--bad); }
tr.strong td { font-weight: 600; }
.strip { display: grid; grid-template-columns: minmax(8rem, 15rem) 1fr; gap: .2rem 1.2rem; align-items: center; }
.strip .said b { font-size: 1.7rem; line-height: 1.1; display: block; }
.pixels { image-rendering: pixelated; width: 100%; display: block; border-radius: 4px; background-repeat: no-repeat;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.names { display: grid; text-align: center; font-size: 13px; color: var(--quiet); }
.missing { border-left: 4px solid var(--bad); background: var(--raised); padding: .6rem 1rem; border-radius: 4px; }
.player .controls { display: flex; gap: .8rem; align-items: center; margin: .4rem 0 .8rem; }
.player button { font: inherit; padding: .15rem .9rem; border: 1px solid var(--line); border-radius: 6px;
  cursor: pointer; background: var(--raised); color: var(--ink); min-width: 5.4rem; }
.player input { flex: 1; accent-color: var(--accent); min-width: 4rem; }
.player output { font-size: 13px; color: var(--quiet); min-width: 8.5rem; font-variant-numeric: tabular-nums; }
.player .controls { max-width: 34rem; }
.film { display: grid; grid-template-columns: max-content 1fr; gap: 2px .7rem; align-items: center; font-size: 12px;
  color: var(--quiet); }
@media (max-width: 640px) { body { margin: 1.2rem auto; } h1 { font-size: 1.6rem; }
  .strip { grid-template-columns: 1fr; } .strip .said b { display: inline; margin-right: .5rem; } }
@media print { :root { --ink: #000; --quiet: #444; --line: #ccc; --paper: #fff; --raised: #f4f4f4; --good: #1b7f4d;
    --bad: #b3261e; --accent: #1f5fa8; --second: #c5650a; color-scheme: light; }
  body { max-width: none; margin: 0; font-size: 11pt; } .controls { display: none !important; }
  figure, .player, .strip, tr { break-inside: avoid; }
  h2, h3, h2 + p, h3 + p { break-after: avoid; } th { position: static; }
  .wide { overflow: visible; } table { font-size: 9pt; } th, td { padding: 2px 5px; white-space: normal; }
  pre { white-space: pre-wrap; } }
"""

SCRIPT = """
document.querySelectorAll("th").forEach((head) => head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex, up = head.dataset.up !== "1";
  const key = (row) => { const word = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    return word === "" || isNaN(word) ? word : Number(word); };
  const rank = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1);
  [...body.rows].sort((a, b) => (up ? 1 : -1) * rank(key(a), key(b))).forEach((row) => body.append(row));
  head.dataset.up = up ? "1" : "0";
}));
document.querySelectorAll(".player").forEach((player) => {
  const pixels = player.querySelector(".pixels"), slider = player.querySelector("input");
  const button = player.querySelector("button"), output = player.querySelector("output");
  const steps = JSON.parse(player.dataset.steps), last = steps.length - 1;
  let timer = null;
  const show = (frame) => { slider.value = frame; output.textContent = `step ${steps[frame]} of ${steps[last]}`;
    pixels.style.backgroundPositionY = `${last ? (100 * frame) / last : 0}%`; };
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
  const play = () => { if (Number(slider.value) === last) show(0); button.textContent = "Pause";
    timer = setInterval(() => { const frame = Number(slider.value);
      if (frame === last) stop(); else show(frame + 1); }, 140); };
  button.addEventListener("click", () => (timer ? stop() : play()));
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  player.querySelector(".controls").hidden = false;
  show(last);
});
"""


WIDEST = 100
"""Pixels of the screen that an image in a row takes at most."""

STILL = 40
"""The same in a film's strip."""


def document(title: str, subtitle: str, parts: Sequence[str]) -> str:
    """A whole page. title, subtitle: plain text; parts: HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f'<p class="quiet">{html.escape(subtitle)}</p>{"".join(parts)}<script>{SCRIPT}</script></body></html>\n'
    )


def table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """columns: headings. rows: a class and cells (`<td>`) each."""
    first = rows[0][1] if rows else [""] * len(columns)
    kinds = [' class="text"' if 'class="text' in one else "" for one in first]
    heads = "".join(f"<th{kind}>{html.escape(column)}</th>" for column, kind in zip(columns, kinds, strict=True))
    body = "".join(f'<tr class="{kind}">{"".join(cells)}</tr>' for kind, cells in rows)
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(value: Any) -> str:
    """A number with four digits, sorted by all of them; or a text."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f'<td data-value="{value!r}">{short(value)}</td>'
    return f'<td class="text">{html.escape(str(value if value is not None else ""))}</td>'


def number_or_word(word: str) -> float | str:
    """A setting's word, as a number where it is one, so that a table can sort by it."""
    try:
        return float(word)
    except ValueError:
        return word


def long_cell(text: str) -> str:
    """A text that may take several lines."""
    return f'<td class="text long">{html.escape(text)}</td>'


def images_cell(finals: NDArray[np.uint8] | None) -> str:
    """A trial's last images, one beside the other."""
    if finals is None or not len(finals):
        return '<td class="text"></td>'
    return (
        f'<td class="text"><img alt="last images" src="{picture_uri(png(np.concatenate(list(finals), axis=1)))}"></td>'
    )


def chart(picture: bytes, name: str, caption: str) -> str:
    """A PNG with what it shows."""
    return (
        f'<figure><img class="chart" alt="{html.escape(name)}" src="{picture_uri(picture)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def drawing(svg: str, caption: str) -> str:
    """An SVG, which takes the page's colours, with what it shows."""
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def row_of_images(images: NDArray[np.floating], frames: int = 1, shown: int = -1, widest: int = WIDEST) -> str:
    """Images side by side, over the whole width. images: (frames, n, height, width) in [0, 1], or (n, ...) of one.

    shown: the frame that is seen; the others stand below one another in the same picture. widest: pixels of the
    screen that an image takes at most.
    """
    stacked = np.asarray(images).reshape(frames, -1, *images.shape[-2:])
    rows = [np.concatenate(list(np.pad(frame, ((0, 0), (0, 0), (1, 1)), constant_values=0.5)), axis=1)
            for frame in stacked]  # fmt: skip
    sheet = np.round(255 * np.clip(np.concatenate(rows), 0, 1)).astype(np.uint8)
    height, width = rows[0].shape
    place = 100.0 if frames == 1 else 100 * (shown % frames) / (frames - 1)
    style = (
        f"max-width: {widest * width // 28}px; aspect-ratio: {width} / {height}; background-size: 100% auto; "
        f"background-position-y: {place:.3f}%; background-image: url({picture_uri(png(sheet))})"
    )
    return f'<div class="pixels" role="img" style="{style}"></div>'


def names(words: Sequence[str]) -> str:
    """A word under each image of a row."""
    cells = "".join(f"<span>{html.escape(word)}</span>" for word in words)
    across = f"max-width: {WIDEST * len(words) * 30 // 28}px; grid-template-columns: repeat({len(words)}, 1fr)"
    return f'<div class="names" style="{across}">{cells}</div>'


@dataclass(frozen=True)
class Film:
    """n images on their way. frames: (steps, n, height, width) in [0, 1]. steps: of each frame. words: (n,), below."""

    frames: NDArray[np.floating]
    steps: Sequence[int]
    words: Sequence[str]


def player(film: Film, most: int = 5) -> str:
    """A film with button and slider, which stands at its end where no script runs, and its strip of `most` frames."""
    count = len(film.steps)
    steps = [int(step) for step in film.steps]
    stills = sorted({round(index) for index in np.geomspace(1, count, most) - 1})
    strip = "".join(
        f"<span>step {steps[index]}</span>{row_of_images(film.frames[index], widest=STILL)}" for index in stills
    )
    return (
        f'<div class="player" data-steps="{steps}">{row_of_images(film.frames, count)}{names(film.words)}'
        f'<div class="controls" hidden><button type="button">Play</button>'
        f'<input type="range" min="0" max="{count - 1}" value="{count - 1}" aria-label="step"><output></output></div>'
        f'<div class="film">{strip}</div></div>'
    )


def missing(what: str, why: str) -> str:
    return f'<p class="missing"><b>{html.escape(what)}: missing.</b> {html.escape(why)}</p>'


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def picture_uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def short(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)
