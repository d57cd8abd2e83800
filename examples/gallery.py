"""The library without MLproject: load the champion, draw a 7 from noise, turn a 5 into a 9, and have them judged.

It wants a champion and a panel of judges in the tracking store (`mlflow run .` leaves both), and saves gallery.png:

    python examples/gallery.py [MODEL [DATASET]]
"""

# ruff: noqa: E402

import sys

import numpy as np
from PIL import Image

from mnist_cnn.runtime import hardware

hardware.start_tensorflow()  # quietly, before what follows imports it

from mnist_cnn.data import dataset
from mnist_cnn.input_optimization import ascend
from mnist_cnn.judging import ablation, scorecard
from mnist_cnn.reporting.progress import AscentProgress
from mnist_cnn.settings import PANEL_A, AscentSettings, SettingError
from mnist_cnn.tracking import models, networks
from mnist_cnn.tracking.judges import find_panel

if len(sys.argv) > 3:
    sys.exit("gallery.py takes a model and a dataset, no more")
uri, source = [*sys.argv[1:], *["models:/mnist-cnn@champion", "mnist"][len(sys.argv) - 1 :]]
try:  # refused in one line where something is not there
    data = dataset.split(dataset.load_train(source))
    network = networks.load(models.resolve(uri), data.train.num_classes, logits=True)
    panel = find_panel(PANEL_A, data.train, seed=0)
except SettingError as error:
    sys.exit(str(error))
if data.train.num_classes < 10:
    sys.exit("gallery.py turns a 5 into a 9, and this data set has fewer than ten classes")
if panel is None:
    sys.exit("There are no judges in this store: mlflow run . -e judges -P panel=A")

fives = data.validation.images[data.validation.labels == 5][:10]  # none of them trained the network
count = len(fives)
noise = np.random.default_rng(7).random((count, 28, 28, 1), np.float32)

# One call searches all: an image's start, target and seed are its own.
starts = np.concatenate([noise, fives])
targets = np.eye(data.train.num_classes, dtype=np.float32)[[7] * count + [9] * count]
settings = AscentSettings(steps=200, snapshot_every=50, seed=np.arange(2 * count)).replace(**ablation.READABLE)
result = ascend(network, starts, targets, settings, on_progress=AscentProgress())

scorer = scorecard.Scorer(panel.opinions, scorecard.RealDigits.of(data.train, data.validation))
card = scorer(result.final, targets)
for title, part in (("a 7 from noise", slice(0, count)), ("a 5 turned into a 9", slice(count, None))):
    sure = result.target_probabilities[-1, part].mean()
    print(f"{title}: {card.recognised[part].mean():.0%} recognised, to the network {sure:.3f} sure")

rows = [*result.snapshots[:, :count], *result.snapshots[:, count:]]  # start to end, and once more
sheet = np.concatenate([np.concatenate(list(row[..., 0]), axis=1) for row in rows])
Image.fromarray(np.round(255 * sheet).astype(np.uint8)).resize((112 * count, 1120), 0).save("gallery.png")
print("gallery.png: above from noise to 7, below from 5 to 9, a column for each search")
