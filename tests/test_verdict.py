"""A verdict by people: a page that does not know the truth, lines of answers that may be torn, rates beside judges'."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
from pathlib import Path

import mlflow
import numpy as np
import pytest
from commands import browser_page, pictures_folder

from mnist_cnn.data import dataset
from mnist_cnn.data.intervals import wilson_interval
from mnist_cnn.judging import verdict
from mnist_cnn.judging.verdict import CANNOT_TELL, GROUPS, Exhibit
from mnist_cnn.reporting import verdict_page
from mnist_cnn.reporting.figure_style import as_pixels
from mnist_cnn.settings import SettingError, VerdictSettings
from mnist_cnn.tracking import dreams, runs
from pipelines import verdict as command
from pipelines.__main__ import call

RANDOM = np.random.default_rng(0)
PAGE, PERSON = "0123456789ab", "0a1b2c3d"


def exhibit(counts: tuple[int, ...] = (30, 20, 10), seed: int = 0) -> Exhibit:
    parts = {
        name: (RANDOM.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count) % 10)
        for name, count in zip(GROUPS, counts, strict=True)
    }
    return Exhibit.of(parts, seed)


SHOWN = exhibit()
TRUE = "".join(map(str, SHOWN.targets))


def test_the_same_seed_gives_the_same_order_and_another_seed_another() -> None:
    parts = {"dreamed": (np.arange(20 * 784, dtype=np.uint8).reshape(20, 28, 28), np.arange(20) % 10)}
    first, same, other = (Exhibit.of(parts, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.targets, same.targets)
    assert (first.targets != other.targets).any()
    for number, image in zip(first.targets, first.images, strict=True):
        assert any((image == parts["dreamed"][0][place]).all() for place in (number, number + 10))


def test_other_images_have_another_key_and_the_same_images_the_same() -> None:
    """What seed and counts say, everyone who has the program knows."""
    targets = np.tile(np.arange(10), 6)

    def key(images: np.ndarray) -> list[int]:
        own = verdict.choose(images, targets, 30, 0, "dreamed")
        shown = Exhibit.of({"dreamed": (images, targets)}, 0)
        return [*own.tolist(), *shown.targets.tolist()]

    images = RANDOM.integers(0, 256, (60, 28, 28), np.uint8)
    other = images.copy()
    other[0, 0, 0] ^= 1
    assert key(images) == key(images.copy())
    assert key(images)[:30] != key(other)[:30] and key(images)[30:] != key(other)[30:]


def test_groups_are_mixed_in_the_order() -> None:
    assert np.bincount(SHOWN.groups).tolist() == [30, 20, 10]
    assert (np.diff(SHOWN.groups) != 0).sum() > 20


def test_images_are_drawn_evenly_over_the_classes() -> None:
    targets = np.repeat(np.arange(10), [50, *[4] * 9])
    images = np.arange(len(targets), dtype=np.uint8)
    chosen = verdict.choose(images, targets, 30, 0, "dreamed")
    assert len({*chosen.tolist()}) == 30 and np.bincount(targets[chosen]).tolist() == [3] * 10
    np.testing.assert_array_equal(chosen, verdict.choose(images, targets, 30, 0, "dreamed"))
    assert sorted(np.bincount(targets[verdict.choose(images, targets, 25, 1, "dreamed")])) == [2] * 5 + [3] * 5
    with pytest.raises(ValueError, match="5 images are wanted, and there are 2"):
        verdict.choose(images[:2], np.array([1, 2]), 5, 0, "dreamed")


def test_the_page_does_not_depend_on_the_truth() -> None:
    """What is no function of the truth cannot hold it."""
    other = Exhibit(SHOWN.images, SHOWN.groups[::-1], 9 - SHOWN.targets)
    assert other.page_id("run") == SHOWN.page_id("run") != SHOWN.page_id("another run")
    page = verdict_page.page(SHOWN.images, SHOWN.page_id("run"))
    assert page == verdict_page.page(other.images, other.page_id("run"))
    words = re.sub(r"data:image/png;base64,[\w+/=]+", "", page).lower()
    assert not re.search("dreamed|real|control|noise|judge|target|truth|seed", words)
    assert not re.search(r"https?://|src=\"(?!data:)|@import|url\(", page)


CLOTHES = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "<b>Sneaker", "袋", "A" * 30)


def test_names_of_classes_stand_on_the_keys_in_the_figure_and_in_the_tables() -> None:
    digits, page = (verdict_page.page(SHOWN.images[:2], PAGE, names) for names in (verdict.DIGITS, CLOTHES))
    assert digits.count("Which digit is this?") == 2 and 'data-answer="7">7</button>' in digits
    assert page.count("What is this?") == 2 and "digit" not in page and "<b>" not in page
    assert 'data-answer="7"><small>7</small> &lt;b&gt;Sneaker</button>' in page
    shown = Exhibit.of({"dreamed": (SHOWN.images[:10], np.arange(10))}, 0, CLOTHES)
    told = verdict.by_image(shown, shown.targets[np.newaxis], np.ones(10, bool))
    assert told["target"] == [CLOTHES[number] for number in shown.targets] and told["people_right"] == [1] * 10
    groups = verdict.verdicts(shown, shown.targets[np.newaxis], np.ones(10, bool))
    for names, label in ((CLOTHES, "Dress  3"), (verdict.DIGITS, "3")):
        figure = verdict_page.confusions(groups, 1, names)
        assert figure.axes[0].get_yticklabels()[3].get_text() == label
        as_pixels(figure)
        assert all(text.get_window_extent().x0 >= 0 for text in figure.axes[0].get_yticklabels())


def test_a_picture_of_the_page_holds_pixels_and_nothing_else() -> None:
    page = verdict_page.page(SHOWN.images[:3], PAGE)
    pictures = [base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([\w+/=]+)", page)]
    assert len(pictures) == 3
    for picture in pictures:
        chunks, place = [], 8
        while place < len(picture):
            (length,) = struct.unpack(">I", picture[place : place + 4])
            chunks.append(picture[place + 4 : place + 8])
            place += length + 12
        assert {*chunks} == {b"IHDR", b"IDAT", b"IEND"}


def test_a_whole_line_is_read_also_where_it_is_quoted() -> None:
    text = f"\n> {verdict.line(PAGE, PERSON, '01x')}  \n"
    assert verdict.page_of(text) == PAGE
    answers = verdict.read_answers(text, PAGE, 3)
    assert answers.people == (PERSON,) and answers.said.tolist() == [[0, 1, CANNOT_TELL]] and answers.skipped == ()


def test_lines_that_do_not_count_are_named_with_the_reason() -> None:
    whole = verdict.line(PAGE, PERSON, "012")
    lines = [
        whole,
        whole[:-3],
        whole.replace("012", "013"),
        "Dear all,",
        verdict.line("f" * 12, PERSON, "012"),
        verdict.line(PAGE, "0" * 8, "0123"),
        whole,
        verdict.line(PAGE, "1" * 8, "555"),
        verdict.line(PAGE, "1" * 8, "556"),
    ]
    answers = verdict.read_answers("\n".join(lines), PAGE, 3)
    assert answers.people == (PERSON, "1" * 8) and answers.said.tolist() == [[0, 1, 2], [5, 5, 6]]
    assert dict(answers.skipped) == {
        2: "it is torn or was changed",
        3: "it is torn or was changed",
        4: "it is no line of answers",
        5: "it is of another page, ffffffffffff",
        6: "it has 4 answers, and the page has 3 images",
        7: "it is the same as line 1",
        8: "the same person answered again in line 9",
    }


def test_two_lines_on_one_are_both_read() -> None:
    one, two = verdict.line(PAGE, PERSON, "012"), verdict.line(PAGE, "1" * 8, "x45")
    answers = verdict.read_answers(f"Hi {one}, {two}{one[:-1]} and {two}", PAGE, 3)
    assert answers.people == (PERSON, "1" * 8) and answers.said.tolist() == [[0, 1, 2], [CANNOT_TELL, 4, 5]]
    assert answers.skipped == ((1, "it is the same as line 1"), (1, "it is torn or was changed"))


@pytest.mark.parametrize("end", ["\n", "=\r\n", "\n> ", " \n  "])
@pytest.mark.parametrize("width", [9, 22, 76, 99])
def test_a_wrapped_line_is_joined_where_that_makes_it_whole(end: str, width: int) -> None:
    whole, other = verdict.line(PAGE, PERSON, TRUE), verdict.line(PAGE, "1" * 8, TRUE)
    wrapped = end.join(whole[place : place + width] for place in range(0, len(whole), width))
    answers = verdict.read_answers(f"{wrapped}\n{other}\nabc", PAGE, 60)
    assert answers.people == (PERSON, "1" * 8) and (answers.said == SHOWN.targets).all()
    assert [reason for _, reason in answers.skipped] == ["it is no line of answers"]
    assert verdict.page_of(wrapped) == PAGE
    torn = verdict.read_answers(f"{whole[:50]}\n{whole[51:]}\n{other}", PAGE, 60)
    assert torn.people == ("1" * 8,)
    assert dict(torn.skipped) == {1: "it is torn or was changed", 2: "it is no line of answers"}


def test_a_changed_letter_is_found_wherever_it_stands() -> None:
    whole = verdict.line(PAGE, PERSON, TRUE)
    for place, letter in enumerate(whole):
        changed = whole[:place] + ("1" if letter != "1" else "2") + whole[place + 1 :]
        assert verdict.page_of(changed) is None, changed


def test_the_rates_of_each_group_are_counted_by_hand() -> None:
    said = np.tile(SHOWN.targets, (2, 1))
    said[:, SHOWN.groups == 2] = CANNOT_TELL
    wrong = np.flatnonzero(SHOWN.groups == 0)[:6]
    said[0, wrong] = (SHOWN.targets[wrong] + 1) % 10
    recognised = SHOWN.groups == 1
    found = verdict.verdicts(SHOWN, said, recognised)
    dreamed, real, controls = (found[name] for name in GROUPS)
    assert dreamed.people.rate == pytest.approx(54 / 60) and real.people.rate == 1 and controls.people.rate == 0
    assert 0.65 < dreamed.people.low < 0.9 < dreamed.people.high <= 1
    assert (real.people.low, real.people.high) == wilson_interval(20, 20)
    assert (dreamed.judges.rate, real.judges.rate) == (0, 1) and dreamed.judges.high == wilson_interval(0, 30)[1]
    assert dreamed.confusion.sum() == 60 and np.trace(dreamed.confusion[:, :10]) == 54
    assert controls.confusion[:, 10].tolist() == [2] * 10 and controls.cannot_tell == 1
    assert dreamed.metrics("dreamed")["judges_dreamed_rate_low"] == 0


def test_the_interval_of_one_person_is_that_over_images_and_of_like_answers_not_narrower() -> None:
    hits = RANDOM.random((1, 200)) < 0.8
    one, many = verdict.share(hits), verdict.share(np.repeat(hits, 50, axis=0))
    low, high = wilson_interval(int(hits.sum()), 200)
    assert one.low == pytest.approx(low, abs=0.02) and one.high == pytest.approx(high, abs=0.02)
    assert many.low == pytest.approx(one.low, abs=0.02) and many.high == pytest.approx(one.high, abs=0.02)
    apart = verdict.share(RANDOM.random((50, 200)) < 0.8)
    assert apart.high - apart.low < 0.6 * (one.high - one.low)


def made_page(exhibit: Exhibit) -> tuple[str, str]:
    """A run that made the page of `exhibit`, as far as answers need it, and the page's id."""
    with runs.tracked_run("verdict", otherwise="verdict-page") as run:
        page = exhibit.page_id(run.run_id)
        run.set_tags({command.PAGE_TAG: page})
        run.log_arrays({**vars(exhibit), "recognised": exhibit.groups == 1}, command.EXHIBIT)
    return run.run_id, page


def test_answers_become_a_run_beside_the_judges(client: mlflow.MlflowClient, tmp_path: Path, capsys) -> None:
    page_run, page = made_page(SHOWN)
    file = tmp_path / "answers.txt"
    file.write_text(f"{verdict.line(page, PERSON, TRUE)}\n{verdict.line(page, '1' * 8, 'x' * 60)}\nhello\n")
    call("verdict", ["--answers", os.path.relpath(file)])
    printed = capsys.readouterr().out
    assert "Line 3 is skipped: it is no line of answers.\nAnswers of 2 people.\n" in printed
    assert "| from noise | 30 | 50.0 % (" in printed
    (run,) = client.search_runs(["0"], f"tags.verdict_of = '{page_run}'")
    assert run.data.params["answers"] == str(file.resolve())
    metrics = run.data.metrics
    assert metrics["dreamed_rate"] == metrics["real_rate"] == metrics["controls_cannot_tell_share"] == 0.5
    assert metrics["judges_real_rate"] == 1 and metrics["judges_dreamed_rate"] == 0 and metrics["people"] == 2
    assert metrics["dreamed_rate_low"] < 0.5 < metrics["dreamed_rate_high"]
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    table = json.loads((folder / "images.json").read_text())
    assert table["columns"] == ["image", "group", "target", "judges_recognise", "people_right", "said"]
    assert [row[5] for row in table["data"]] == [f"{number}x" for number in TRUE]
    assert [row[2] for row in table["data"]] == list(TRUE)
    assert (folder / "figures" / "confusions.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "`answers` must hold a whole line of answers, verdict1.PAGE.PERSON.ANSWERS.CHECKSUM"),
        ("hello", "there is none. Copy the line again"),
        (verdict.line(PAGE, PERSON, TRUE)[:-1], "there is none. Copy the line again"),
        (verdict.line("f" * 12, PERSON, TRUE), "made their page, ffffffffffff. Name the store that did by"),
    ],
)
def test_answers_of_which_nothing_counts_are_refused(text: str, reason: str, client, tmp_path: Path) -> None:
    file = tmp_path / "answers.txt"
    file.write_text(text)
    with pytest.raises(SettingError) as error:
        call("verdict", ["--answers", str(file)])
    assert reason in str(error.value) and len(str(error.value)) <= 300


def test_answers_of_a_page_of_which_no_person_remains_are_refused(client, tmp_path: Path) -> None:
    """They gave a run of NaN."""
    _, page = made_page(SHOWN)
    file = tmp_path / "answers.txt"
    file.write_text(f"{verdict.line(page, PERSON, '012')}\n" * 4)
    with pytest.raises(SettingError) as error:
        call("verdict", ["--answers", str(file)])
    assert "no line counts. Line 1 is skipped: it has 3 answers, and the page has 60 images." in str(error.value)
    assert "So are 2 more. Copy the lines again" in str(error.value) and len(str(error.value)) <= 300
    assert not client.search_runs(["0"], "attributes.status != 'FINISHED'")


def test_settings_that_cannot_work_are_refused(client: mlflow.MlflowClient, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="`run` says what the page shows, and `answers` name their page"):
        VerdictSettings(run="0" * 32, answers="x")
    for word in (tmp_path / "none", tmp_path, "\0"):
        with pytest.raises(SettingError, match="`answers` must be"):
            call("verdict", ["--answers", str(word)])
    with runs.tracked_run("other") as run:
        pass
    with pytest.raises(SettingError, match=f"`run`: {run.run_id} is no run of `optimize` or `teach`"):
        call("verdict", ["--run", run.run_id])
    with pytest.raises(
        SettingError, match="`run` was not given and .* holds none with 1000 images from noise of mnist"
    ):
        call("verdict", ["--dreamed", "1000"])


def searched(settings: dict[str, str], digest: str) -> str:
    """A run of `optimize` of 20 images from noise, as far as a page needs it."""
    with runs.tracked_run("optimize") as run:
        run.log_json({"settings": {"start": "noise", **settings}, "digest": digest}, "settings.json")
        targets = np.tile(np.eye(47, dtype=np.float32)[37:], (2, 1))
        run.log_arrays({"snapshots": np.zeros((1, 20, 28, 28, 1), np.float32), "targets": targets}, "arrays.npz")
    return run.run_id


def test_a_page_shows_dreams_of_its_own_data(client: mlflow.MlflowClient, small_dataset: Path) -> None:
    """The newest of other data was taken, and named a class that the page lacks."""
    mnist, own = (dataset.split(dataset.load_train(word)).validation for word in ("mnist:600", str(small_dataset)))
    of_mnist = searched({"dataset": "mnist:2000"}, "0")
    of_file = searched({"dataset": "moved.npz"}, own.digest)
    other = searched({"dataset": "letters.npz"}, "1")
    assert dreams.dreams("", 20, mnist)[0] == of_mnist and dreams.dreams("", 20, own)[0] == of_file
    assert dreams.dreams(of_mnist, 20, mnist)[0] == of_mnist and dreams.dreams(of_file, 20, own)[0] == of_file
    for run, data in ((other, mnist), (of_file, mnist), (of_mnist, own)):
        with pytest.raises(SettingError, match=f"`run`: {run} is of other data than .*or its data by `dataset`"):
            dreams.dreams(run, 20, data)


@pytest.mark.slow
def test_from_a_search_to_a_page_to_answers(client: mlflow.MlflowClient, tmp_path: Path) -> None:
    data = ["--dataset", "mnist:2000"]
    call("train", [*data, "--epochs", "1"])
    call("optimize", [*data, "--num_images", "2", "--steps", "20"])
    call("verdict", [*data, "--dreamed", "12", "--real", "8", "--controls", "5"])
    (run,) = client.search_runs(
        ["0"], "attributes.run_name = 'verdict-page' AND tags.verdict_page LIKE '%'", max_results=1
    )
    assert run.data.tags.keys() >= {"judges.A", "judges.B"}
    folder = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    with np.load(folder / command.EXHIBIT) as arrays:
        shown = Exhibit(arrays["images"], arrays["groups"], arrays["targets"])
        assert not arrays["recognised"][shown.groups == 2].all()
    assert np.bincount(shown.groups).tolist() == [12, 8, 5]
    answers = "".join(
        "x" if group == 2 else str(target) for group, target in zip(shown.groups, shown.targets, strict=True)
    )
    lines, asked = [], []
    with browser_page() as page:
        page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
        for width in (390, 1400):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto((folder / command.PAGE).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for number, letter in enumerate(answers):
                assert page.inner_text("#progress") == f"Image {number + 1} of 25"
                if width == 390:
                    page.click(f"[data-answer='{letter}']")
                else:
                    page.keyboard.press("7")
                    page.keyboard.press("Backspace")
                    page.keyboard.press(letter)
                if number == 0:
                    page.screenshot(path=pictures_folder(tmp_path) / f"verdict_{width}.png")
            lines.append(page.input_value("#line"))
        page.click("#again")
        assert page.inner_text("#progress") == "Image 25 of 25"
        page.keyboard.press(answers[-1])
        assert page.input_value("#line") == lines[-1]
    assert {*asked} <= {"file", "data"}
    page_id, person = lines[0].split(".")[1:3]
    assert lines[0] == verdict.line(page_id, person, answers) and lines[0] != lines[1]
    (tmp_path / "answers.txt").write_text("\n".join(lines))
    result = command.run(VerdictSettings(answers=str(tmp_path / "answers.txt")))
    assert isinstance(result, command.VerdictResult) and len(result.answers.people) == 2
    assert result.groups["dreamed"].people.rate == 1 and result.groups["controls"].cannot_tell == 1
