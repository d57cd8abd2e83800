"""Any set of 28 x 28 grey images with 2 to 47 classes goes the whole way, and shows its names."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
import reporting_examples as examples
from conftest import PROJECT
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mnist_cnn.data import dataset
from mnist_cnn.data.dataset import DatasetError
from mnist_cnn.judging import judges, nearest_digits
from mnist_cnn.reporting import (
    ablation_figures,
    descriptions,
    image_sheet,
    rendering,
    search_figures,
    tables,
    training_figures,
)
from mnist_cnn.reporting.figure_style import as_pixels
from mnist_cnn.settings import OptimizeSettings
from mnist_cnn.settings.errors import SettingError
from mnist_cnn.settings.experiments import EXPERIMENTS, for_classes, kinds
from mnist_cnn.tracking import reading
from mnist_cnn.training import evaluation
from pipelines.__main__ import call

FASHION = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
GLYPHS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
"""EMNIST's balanced classes: digits, capital letters, and the small letters that look unlike them."""


def glyphs(path: Path, num_classes: int, names: list[str] | None = None, of_each: int = 24) -> Path:
    """Letters a little out of place, in turn: `of_each` training images of each class, a quarter of that to test."""
    random, font = np.random.default_rng(0), ImageFont.load_default(20)

    def draw(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        labels = (np.arange(count * num_classes) % num_classes).astype(np.uint8)
        images = []
        for label in labels:
            image = Image.new("L", (28, 28))
            place = tuple(14 + random.uniform(-2, 2, 2))
            ImageDraw.Draw(image).text(place, GLYPHS[label], int(random.integers(180, 256)), font, anchor="mm")
            images.append(np.asarray(image.rotate(random.uniform(-10, 10))))
        return np.stack(images), labels

    (x_train, y_train), (x_test, y_test) = draw(of_each), draw(max(1, of_each // 4))
    named = {} if names is None else {"class_names": names}
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, **named)
    return path


def example_of_the_docs() -> str:
    text = (PROJECT / "docs" / "your_data.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return code


HOSTILE = ["<b>bold</b>", "$x_{", "`a|b`", "[link](x)"]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes with names that mean something in HTML, in Markdown and to matplotlib."""
    return glyphs(tmp_path_factory.mktemp("four") / "four.npz", 4, HOSTILE)


def test_classes_are_counted_by_labels_and_named_by_the_file(tmp_path: Path, four: Path) -> None:
    named, without = dataset.load_train(str(four)), dataset.load_train(str(glyphs(tmp_path / "w.npz", 3)))
    assert (named.num_classes, list(named.class_names)) == (4, HOSTILE)
    assert (without.num_classes, without.class_names) == (3, ("0", "1", "2"))
    assert dataset.load_train().class_names == tuple("0123456789")
    assert dataset.load_test(str(four)).class_names == named.class_names
    assert named.part(slice(1), "one").num_classes == 4  # also of a part that holds one class alone


def test_names_change_no_digest_for_networks_stay_known(tmp_path: Path, four: Path) -> None:
    assert dataset.load_train(str(glyphs(tmp_path / "plain.npz", 4))).digest == dataset.load_train(str(four)).digest


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "one class": ({"y_train": np.zeros(40, np.uint8)}, "`y_train` must have 2 to 47 classes; all its labels are 0"),
    "48 classes": ({"y_train": np.arange(40) + 8}, "labels in `y_train` must be from 0 to 46; they are from 8 to 47"),
    "too few names": ({"class_names": ["a", "b"]}, r"must be 3 texts, one for each label from 0 to 2 .*\(2,\)"),
    "too many names": ({"class_names": list("abcd")}, r"must be 3 texts.*\(4,\)"),
    "numbers as names": ({"class_names": [1, 2, 3]}, "must be 3 texts.*got int64"),
    "names in a table": ({"class_names": [["a"], ["b"], ["c"]]}, r"must be 3 texts.*\(3, 1\)"),
    "an empty name": ({"class_names": ["a", "", "c"]}, "the name of class 1 must be a printable text.*got ''"),
    "a name of two lines": ({"class_names": ["a", "b", "c\nd"]}, "the name of class 2 must be a printable text"),
    "a long name": ({"class_names": ["a" * 31, "b", "c"]}, "the name of class 0 must be .* of 1 to 30 characters"),
    "names of what is no letter": (
        {"class_names": np.full(3, 0x110000, np.uint32).view("<U1")},
        "`class_names` cannot be read as text",
    ),
    "a name twice": ({"class_names": ["a", "b", "a"]}, "must differ; 'a' stands there twice"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_set_that_does_not_fit_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    changes, message = REFUSED[case]
    with np.load(glyphs(tmp_path / "three.npz", 3, of_each=16)) as whole:
        arrays = {key: whole[key] for key in whole.files}
    arrays["x_train"], arrays["y_train"] = arrays["x_train"][:40], arrays["y_train"][:40]
    np.savez(tmp_path / "bad.npz", **{**arrays, **changes})  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=message) as refusal:
        dataset.load_train(str(tmp_path / "bad.npz"))
    assert "\n" not in str(refusal.value) and len(str(refusal.value).replace(str(tmp_path), "")) < 300


def test_labels_that_only_the_test_images_have_are_refused(tmp_path: Path) -> None:
    with np.load(glyphs(tmp_path / "three.npz", 3)) as whole:
        arrays = {key: whole[key] for key in whole.files}
    np.savez(tmp_path / "more.npz", **{**arrays, "y_test": arrays["y_test"] + 1})
    with pytest.raises(DatasetError, match="labels in `y_test` must be from 0 to 2; they are from 1 to 3"):
        dataset.load_test(str(tmp_path / "more.npz"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--targets=3,4"], "`targets`: this data set has classes 0 to 3; got '3,4'."),
        (["--targets=1,2+9"], "`targets`: this data set has classes 0 to 3; got '1,2+9'."),
        (["--start=digit", "--start_class=5"], "`start_class`: this data set has classes 0 to 3; got '5'."),
    ],
)
@pytest.mark.parametrize("command", ["optimize", "sweep"])
def test_a_class_that_the_data_lack_is_refused(
    command: str, words: list[str], message: str, client, four: Path
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        call(command, [f"--dataset={four}", *words])
    with pytest.raises(SettingError, match="classes are 0 to 46"):
        OptimizeSettings(targets="47")


def test_the_six_experiments_are_the_reports_own_from_ten_classes_on() -> None:
    labels = [[kind.label for kind in each.kinds] for each in for_classes(47)]
    assert labels[4:] == [["noise → 2+3", "noise → 1+7"], ["5 → 7", "5 → 9", "2 → 5"]]
    assert [len(each) for each in labels[:4]] == [1, 1, 47, 47]
    assert for_classes(10) == EXPERIMENTS


@pytest.mark.parametrize("num_classes", range(2, 10))
def test_of_fewer_classes_each_experiment_has_a_kind_and_names_no_class_twice(num_classes: int) -> None:
    for each in for_classes(num_classes):
        assert each.kinds and len({kind.label for kind in each.kinds}) == len(each.kinds)
        for kind in each.kinds:
            shares = dict(kind.target.shares)
            assert max(shares) < num_classes and len(shares) == 1 + ("+" in kind.target.word)
            assert kind.start != "digit" or kind.start_class not in shares


def test_kinds_have_names_in_pictures_and_numbers_in_their_seeds() -> None:
    names = ("Coat", "Bag", "Boot")
    mix, share, own = (
        *kinds("0+2,1:0.7+2:0.3", "noise", num_classes=3), *kinds("1", "noisy_digit", "2", num_classes=3)
    )  # fmt: skip
    assert [kind.named(names) for kind in (mix, share, own)] == [
        "noise → Coat+Boot", "noise → Bag:0.7+Boot:0.3", "noisy Boot → Bag"
    ]  # fmt: skip
    assert [kind.label for kind in (mix, share, own)] == ["noise → 0+2", "noise → 1:0.7+2:0.3", "noisy 2 → 1"]
    assert own.named(dataset.numbers(3)) == own.label


def test_judges_of_every_kind_that_learns_nothing_know_all_classes(tmp_path: Path) -> None:
    data = dataset.split(dataset.load_train(str(glyphs(tmp_path / "g.npz", 47, of_each=20))))
    for kind in ("knn", "subspace"):
        trained = judges.train(kind, "A", data, seed=0)
        assert trained.validation.probabilities.shape == (len(data.validation), 47)
        assert trained.validation.accuracy > 0.5
        trained.judge.save(tmp_path / kind)
        again = judges.load(tmp_path / kind, 47).predict(data.validation.images)
        np.testing.assert_array_equal(again, trained.validation.probabilities)


def labelled(names: tuple[str, ...]) -> evaluation.EvaluationResult:
    return dataclasses.replace(examples.evaluated(), class_names=names)


NAMES = (*HOSTILE, "a name of thirty characters ..", "é", "お", "6", "7", "8")


def test_tables_and_descriptions_show_names_and_escape_them(four: Path) -> None:
    result = labelled(NAMES)
    assert result.classes()["name"] == list(NAMES) and "name" not in examples.evaluated().classes()
    text = descriptions.evaluation("models:/m-1", examples.digits(), result)
    assert "| &lt;b&gt;bold&lt;/b&gt; |" in text and r"| \`a\|b\` |" in text and "<b>" not in text
    for name in NAMES:  # what Markdown escapes is plain again on a terminal
        assert f"| {' '.join(name.split())} |" in rendering.on_terminal(tables.as_markdown(["name"], [[name]]))
    found = examples.searches(kinds("0,1+2", "noise", num_classes=10), class_names=NAMES)
    assert "noise → &lt;b&gt;bold" in tables.ascent(found) and "noise → 0" not in tables.ascent(found)


def test_figures_show_names_whatever_they_hold(monkeypatch) -> None:
    result, plain = labelled(NAMES), examples.evaluated()
    for name, figure in training_figures.evaluation(result, examples.digits().images, "Title").items():
        assert (np.asarray(figure) if isinstance(figure, Image.Image) else as_pixels(figure)).std() > 0, name
    axes = training_figures.confusion_matrix(result, "Title").axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == list(NAMES)
    numbers = training_figures.confusion_matrix(plain, "Title").axes[0].get_xticklabels()
    assert [tick.get_text() for tick in numbers] == list("0123456789")
    found = examples.searches(kinds("0,1+2", "noise", num_classes=10), class_names=NAMES)
    nearest = nearest_digits.nearest(found.result.final, examples.digits())
    drawn: list[image_sheet.Row] = []
    for module in (search_figures, ablation_figures):
        monkeypatch.setattr(module, "draw_sheet", lambda rows, title, scale: drawn.extend(rows))
    search_figures.film_strip(found, nearest, "Search")
    assert any(row.label.startswith("noise → $x_{+`a|b`") for row in drawn)
    cell = next(iter(examples.ablation_table().cells.values()))
    ablation_figures.digits(cell, NAMES)
    assert any(row.label.startswith("[link](x)\n") for row in drawn)


def test_a_confusion_matrix_of_47_classes_grows_with_them() -> None:
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(47), 500).astype(np.float32)
    result = evaluation.score(probabilities, random.integers(0, 47, 500).astype(np.int32))
    figure = training_figures.confusion_matrix(result, "Title")
    assert figure.get_figwidth() > 2 * training_figures.confusion_matrix(examples.evaluated(), "").get_figwidth()


def go_the_whole_way(data: Path, client, names: list[str], capsys) -> None:
    """Every command that reads images, at small size, and what it leaves. The rest is in `reproduce`, of Fashion."""
    own, short = f"--dataset={data}", ["--steps=4", "--snapshot_every=2", "--num_images=2"]
    call("train", ["--seeds=2", own])
    call("evaluate", [own])
    call("experiments", [own, *short])
    call("sweep", [own, *short, "--n_trials=2", "--sampler=random"])
    call("optimize", [own, "--steps=20", "--num_images=1"])
    call("register", [own, "--attacked=0", "--num_images=1"])

    def newest(kind: str) -> str:
        return client.search_runs(["0"], f"tags.kind = '{kind}'", max_results=1)[0].info.run_id

    classes = reading.read_json(newest("evaluate"), "classes.json")
    rows = [dict(zip(classes["columns"], row, strict=True)) for row in classes["data"]]
    assert [row.get("name", str(row["class"])) for row in rows] == names
    arrays = reading.read_arrays(newest("optimize"), "arrays.npz")
    np.testing.assert_array_equal(arrays["targets"], np.eye(len(names)))
    table = json.loads(json.dumps(reading.read_json(newest("optimize"), "searches.json")))
    assert f"p({len(names) - 1})" in table["columns"]
    both = [run.info.run_id for run in client.search_runs(["0"], "tags.kind = 'train'", max_results=2)]
    call("diff", [f"--runs={','.join(both)}"])
    call("again", [f"--run={newest('evaluate')}"])
    call("export", ["--to=site"])
    assert Path("site/index.html").is_file()
    capsys.readouterr()


@pytest.fixture
def own_store(client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_store) -> mlflow.MlflowClient:
    """A store of its own, for what a reproduction leaves."""
    monkeypatch.chdir(fresh_store(tmp_path))
    mlflow.set_tracking_uri(None)
    return mlflow.MlflowClient()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no search has reached its target")
def test_two_classes_go_the_whole_way(own_store, tmp_path: Path, capsys) -> None:
    go_the_whole_way(glyphs(tmp_path / "two.npz", 2, of_each=150), own_store, ["0", "1"], capsys)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no search has reached its target")
@pytest.mark.thorough
def test_47_named_classes_go_the_whole_way(own_store, tmp_path: Path, capsys) -> None:
    names = [f"letter {letter}" for letter in GLYPHS]
    go_the_whole_way(glyphs(tmp_path / "letters.npz", 47, names), own_store, names, capsys)
    note = own_store.search_runs(["0"], "tags.kind = 'optimize'")[0].data.tags["mlflow.note.content"]
    assert "noise → letter t" in note


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:no search has reached its target")
def test_fashion_goes_the_whole_way_from_the_lines_of_the_docs(own_store, tmp_path: Path, capsys) -> None:
    if not FASHION.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    exec(example_of_the_docs().replace("/usr/share/datasets/fashion-mnist", str(FASHION)), {})
    with np.load("fashion.npz") as whole:
        assert len(whole["x_train"]) == 60_000 and np.bincount(whole["y_test"]).tolist() == [1000] * 10
        counts = {"x_train": 600, "y_train": 600, "x_test": 100, "y_test": 100, "class_names": 10}
        np.savez("some.npz", **{key: whole[key][:count] for key, count in counts.items()})
    call("reproduce", ["--scale=smoke", "--dataset=some.npz"])
    call("teach", ["--dataset=some.npz", "--num_images=10", "--steps=10", "--students=1"])
    page = Path("report.html").read_text()
    assert "Missing:" not in page and "(n, 10) probabilities" in page and "<span>Ankle boot</span>" in page
