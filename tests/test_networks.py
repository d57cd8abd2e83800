from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mnist_cnn.judging import judges
from mnist_cnn.models import networks
from mnist_cnn.models.networks import LAST
from mnist_cnn.settings import NETWORKS
from mnist_cnn.settings.errors import SettingError


@pytest.fixture(scope="module")
def report() -> keras.Model:
    return networks.build("report", seed=0, num_classes=10)


def test_the_report_network_has_exactly_the_reports_parameters(report: keras.Model) -> None:
    trainable = sum(int(np.prod(weight.shape)) for weight in report.trainable_weights)
    fixed = sum(int(np.prod(weight.shape)) for weight in report.non_trainable_weights)
    assert (report.count_params(), trainable, fixed) == (62_735_658, 62_734_250, 1_408)


def test_the_report_network_is_the_reports_layer_for_layer(report: keras.Model) -> None:
    def describe(layer: keras.Layer) -> str:
        config, kind = layer.get_config(), type(layer).__name__
        if kind == "Conv2D":
            size, padding, activation = config["kernel_size"][0], config["padding"], config["activation"]
            return f"conv {config['filters']} {size}x{size} {padding} {activation}"
        if kind == "MaxPooling2D":
            return f"pool {config['pool_size'][0]} / {config['strides'][0]}"
        if kind == "Dense":
            return f"dense {config['units']} {config['activation']}"
        return f"dropout {config['rate']}" if kind == "Dropout" else kind

    assert [describe(layer) for layer in report.layers] == [
        "InputLayer",
        "conv 96 3x3 same relu", "BatchNormalization", "conv 96 3x3 same relu", "BatchNormalization", "pool 2 / 2",
        "conv 256 3x3 same relu", "BatchNormalization", "conv 256 3x3 same relu", "BatchNormalization", "pool 2 / 2",
        "conv 384 3x3 same relu", "conv 384 3x3 same relu", "conv 256 3x3 same relu", "pool 2 / 1",
        "Flatten",
        "dense 4096 relu", "dropout 0.5", "dense 4096 relu", "dropout 0.5", "dense 1024 relu", "dropout 0.5",
        "dense 10 linear", "Activation",
    ]  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_logits_and_probabilities_belong_together(precision: str) -> None:
    network = networks.build("compact", seed=0, precision=precision, num_classes=10)
    images = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    logits, probabilities = (np.asarray(model(images)) for model in (networks.with_logits(network), network))
    assert logits.dtype == probabilities.dtype == np.float32
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    assert keras.config.dtype_policy().name == "float32"


def test_logits_share_the_networks_weights() -> None:
    network = networks.build("compact", seed=0, num_classes=10)
    assert networks.with_logits(network).trainable_variables[0] is network.trainable_variables[0]


def test_the_seed_decides_the_weights() -> None:
    first, same, other = (networks.build("compact", seed=seed, num_classes=10).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


def test_every_name_is_a_network_that_takes_other_images_and_classes() -> None:
    for name in NETWORKS:
        if name != "report":  # a quarter of a gigabyte again
            network = networks.build(name, seed=0, input_shape=(32, 32, 3), num_classes=7)
            assert network(np.zeros((2, 32, 32, 3), np.float32)).shape == (2, 7)


def test_a_convolution_on_blocks_is_one_of_twice_the_size_on_the_pixels() -> None:
    network = networks.build("smooth", seed=0)
    first = next(layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    kernel, bias = first.get_weights()
    whole = kernel.reshape(3, 3, 2, 2, 32).transpose(0, 2, 1, 3, 4).reshape(6, 6, 1, 32)
    expected = tf.nn.silu(tf.nn.conv2d(images, whole, 2, "VALID") + bias)
    np.testing.assert_allclose(keras.Model(network.input, first.output)(images), expected, atol=1e-5)


def test_a_part_of_templates_says_how_close_the_mean_of_its_templates_comes() -> None:
    network = networks.build("templates", seed=0)
    dense, made, logits = (network.get_layer(name) for name in ("weights", "templates", "logits"))
    dense.set_weights([np.zeros_like(weight) for weight in dense.get_weights()])
    logits.set_weights([np.eye(10), np.zeros(10)])
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    means = made.get_weights()[0].mean(axis=1) + made.get_weights()[1]
    errors = np.hypot(images.reshape(3, 1, 784) - means, 0.3).mean(axis=2) - 0.3
    np.testing.assert_allclose(networks.with_logits(network)(images), np.log(errors + 1e-3), rtol=1e-4)


def test_a_network_of_templates_is_stored_and_read_without_code(tmp_path: Path) -> None:
    network = networks.build("templates", seed=0)
    network.save(tmp_path / "network.keras")
    read = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(read(images), network(images))


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(SettingError, match="must be one of compact, wide, smooth, templates, report; got 'huge'"):
        networks.build("huge", seed=0, num_classes=10)


def test_the_summary_is_plain_text() -> None:
    text = networks.summary(networks.build("compact", seed=0, num_classes=10))
    assert "logits" in text and "Total params" in text and "\x1b" not in text


@pytest.mark.slow
def test_no_network_reads_otherwise_where_keras_is_set_to_channels_first() -> None:
    images = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)

    def of_all() -> dict[str, np.ndarray]:
        built = {name: networks.build(name, 0, num_classes=10) for name in NETWORKS if name != "report"}
        built |= {kind: judges._build(kind, judges.PARAMETERS[kind]["A"], 10, 0) for kind in ("mlp", "cnn", "mixer")}
        for network in built.values():
            for layer in network.layers:
                assert getattr(layer, "data_format", LAST) == LAST, f"{network.name}, {layer.name}"
        return {name: network(images).numpy() for name, network in built.items()}

    usual = of_all()
    keras.config.set_image_data_format("channels_first")
    try:
        for name, outputs in of_all().items():
            np.testing.assert_array_equal(outputs, usual[name], err_msg=name)
        report = networks.build("report", 0, num_classes=10)
        assert all(getattr(layer, "data_format", LAST) == LAST for layer in report.layers)
    finally:
        keras.config.set_image_data_format(LAST)


@pytest.mark.parametrize("name", ["compact", "wide", "smooth"])
def test_a_network_reads_every_pixel(name: str) -> None:
    network = networks.with_logits(networks.build(name, seed=0))
    images = tf.constant(np.random.default_rng(0).random((16, 28, 28, 1), np.float32))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = network(images)[:, 0]
    assert (np.abs(tape.gradient(logits, images).numpy()).max(axis=0) > 0).all()
