"""The answer's table: what it searches, what it chooses by, and that its controls come out in the right order."""

from __future__ import annotations

import numpy as np
import pytest

from mnist_cnn.data import dataset
from mnist_cnn.judging import ablation, judges, scorecard
from mnist_cnn.judging.scorecard import Scorer
from mnist_cnn.models import networks
from mnist_cnn.settings import AblationSettings, TrainSettings
from mnist_cnn.training import attacks, loop

SETTINGS = AblationSettings(num_images=3, tuning_images=2, steps=3)
HOW = {"num_images": 3, "steps": 3, "seed": 0}


@pytest.fixture(scope="module")
def data() -> dataset.Split:
    """3,000 images that train and 500 that validate."""
    whole = dataset.load_train()

    def part(begin: int, end: int) -> dataset.LabelledImages:
        return dataset.LabelledImages(whole.images[begin:end], whole.labels[begin:end], "", whole.source, "part")

    return dataset.Split(part(0, 3000), part(-500, None))


@pytest.fixture(scope="module")
def real(data) -> scorecard.RealDigits:
    return scorecard.RealDigits.of(data.train, data.validation)


@pytest.fixture(scope="module")
def network(data):
    network = networks.build("compact", seed=0, num_classes=10)
    loop.train(network, data, TrainSettings(epochs=4))
    return network


@pytest.fixture(scope="module")
def quick_judges(data):
    """Six judges that train in a second: three kinds, each taught on either half."""
    quick = {
        (kind, panel): judges.train(kind, panel, data, seed=0).judge
        for kind in ("knn", "kernel", "subspace")
        for panel in ("A", "B")
    }
    return lambda images: {" ".join(name): judge.predict(images) for name, judge in quick.items()}


def sure(images):
    return {"sure": np.tile(np.eye(10)[[3]], (len(images), 1))}


def test_a_cell_holds_every_digit_as_often_and_conversions_from_every_other(network, data, real) -> None:
    for start, count in (("noise", 30), ("noisy_digit", 30), ("digit", 90)):
        found = ablation.searched(network, start, {"l2_weight": 1e-3}, data.validation, Scorer(sure, real), **HOW)
        assert len(found.images) == count
        assert np.bincount(found.targets.argmax(axis=1)).tolist() == [count // 10] * 10
    kinds = ablation.kinds_from("digit", 10)
    assert {(kind.start_class, kind.target.main_class) for kind in kinds} == {
        (a, b) for a in range(10) for b in range(10) if a != b
    }
    of_47 = ablation.kinds_from("digit", 47)
    assert len(of_47) == 47 * 9 and not [kind for kind in of_47 if kind.start_class == kind.target.main_class]


def test_tuning_asks_the_judges_it_is_given_and_other_noise_than_the_table(network, data, real) -> None:
    seen = []

    def spy(images):
        seen.append(images)
        return sure(images)

    tried = list(ablation.tune(network, ablation.L2[:2], SETTINGS, data.validation, Scorer(spy, real)))
    assert [each.changes for each in tried] == ablation.L2[:2] and len(seen) == 2
    found = ablation.searched(network, "noise", ablation.L2[0], data.validation, Scorer(sure, real), **HOW)
    assert not np.allclose(found.images[0], seen[0][0], atol=0.05)


@pytest.mark.slow
def test_the_judges_that_prove_see_no_image_that_was_tried(network, data, real, monkeypatch) -> None:
    monkeypatch.setattr(ablation, "REGULARISATIONS", {"report L2": ablation.REPORTS, "tuned L2": ablation.L2[:2]})
    shown: dict[str, list[int]] = {"choosing": [], "proving": []}

    def judges_of(name):
        return lambda images: shown[name].append(len(images)) or sure(images)

    tried, cells = [], []
    table = ablation.fill(
        {"one": network}, SETTINGS, data.validation,
        Scorer(judges_of("choosing"), real), Scorer(judges_of("proving"), real),
        on_tried=lambda name, each: tried.append(each), on_cell=lambda so_far, place: cells.append(place),
    )  # fmt: skip
    assert shown == {"choosing": [20, 20], "proving": [30, 30, 90] * 2}
    assert table.tried == {"one": {"tuned L2": tried}} and list(table.cells) == cells
    assert cells[3:] == [("one", "tuned L2", start) for start in ("noise", "noisy_digit", "digit")]
    assert table.chosen == {
        ("one", "report L2"): ablation.REPORTS[0],
        ("one", "tuned L2"): ablation.best(tried).changes,
    }


def test_neither_readable_alone_nor_different_alone_is_best() -> None:
    def tried(name, rate, diversity):
        card = type("Card", (), {"rate": rate, "metrics": lambda self: {"diversity": diversity}})()
        return ablation.Tried({"l2_weight": name}, card)

    every = [tried(1, 1.0, 0.0), tried(2, 0.0, 1.0), tried(3, 0.97, 0.55), tried(4, 0.99, 0.3)]
    assert ablation.best(every).changes == {"l2_weight": 3}
    assert ablation.best([tried(1, 0.0, 0.7), tried(2, 0.1, 0.1)]).changes == {"l2_weight": 2}
    assert ablation.best([tried(1, 0.35, 0.6), tried(2, 0.99, 0.25)]).changes == {"l2_weight": 2}


def test_an_aimed_attack_is_taken_for_its_target_and_stays_near(network, data, monkeypatch) -> None:
    images, labels = data.validation.images[:50], data.validation.labels[:50]
    targets = np.eye(10, dtype=np.float32)[(labels + 1) % 10]
    monkeypatch.setattr(attacks, "ATTACKED", 20)  # in parts
    attacked = attacks.aim(network, images, targets, radius=3.0)
    assert (network(attacked).numpy().argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.8
    assert np.sqrt(((attacked - images) ** 2).sum(axis=(1, 2, 3))).max() <= 3.0 + 1e-4


@pytest.mark.slow
def test_controls_come_out_in_the_right_order(network, data, real, quick_judges) -> None:
    cards = ablation.controls(data.train, data.validation, network, Scorer(quick_judges, real), count=20)
    rates = {name: card.rate for name, card in cards.items()}
    assert rates["real digits"] > 0.8 and rates["blurred real digits"] > 0.5
    assert rates["class means"] > 0.5  # recognised, but ...
    assert np.nanmax(cards["class means"].diversity) < 1e-3 < 0.5 < np.nanmin(cards["real digits"].diversity)
    for name in ("real digits of another class", "uniform noise", "blank"):
        assert rates[name] == 0, name
    assert rates["adversarial digits, as the attack's target"] < 0.1
