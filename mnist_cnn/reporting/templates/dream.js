"use strict";
// The arithmetic of a dream: a small network forwards and backwards, and the search on the pixels of one image.
// It does what mnist_cnn/input_optimization/ascent.py and mnist_cnn/models/transforms.py do; tests hold it to them.
// Images are Float32Array of SIZE * SIZE grey levels in [0, 1], row by row.
const SIZE = 28, POSE = -1, DIRECTION = -2, START = -3;
const BETA_1 = 0.9, BETA_2 = 0.999, EPSILON = 1e-7;

const count = (shape) => shape.reduce((product, length) => product * length, 1);

// A layer has forward(input, output) and backward(input, output, ofOutput, ofInput), all of them Float32Array.
const LAYERS = {
  silu: () => ({
    forward(input, output) {
      for (let i = 0; i < input.length; i++) output[i] = input[i] / (1 + Math.exp(-input[i]));
    },
    backward(input, output, ofOutput, ofInput) {
      for (let i = 0; i < input.length; i++) {
        const sigmoid = 1 / (1 + Math.exp(-input[i]));
        ofInput[i] = ofOutput[i] * sigmoid * (1 + input[i] * (1 - sigmoid));
      }
    },
  }),
  relu: () => ({
    forward(input, output) { for (let i = 0; i < input.length; i++) output[i] = Math.max(0, input[i]); },
    backward(input, output, ofOutput, ofInput) {
      for (let i = 0; i < input.length; i++) ofInput[i] = input[i] > 0 ? ofOutput[i] : 0;
    },
  }),
  order: ({ order }) => ({
    forward(input, output) { order.forEach((from, i) => { output[i] = input[from]; }); },
    backward(input, output, ofOutput, ofInput) { order.forEach((from, i) => { ofInput[from] = ofOutput[i]; }); },
  }),
  dense(layer, take) {
    const inputs = count(layer.input), units = count(layer.output);
    const kernel = take(inputs * units), bias = take(units);
    return {
      forward(input, output) {
        output.set(bias);
        addProduct(input, 0, inputs, kernel, 0, output, 0, units);
      },
      backward(input, output, ofOutput, ofInput) {
        ofInput.fill(0);
        addTransposed(ofOutput, 0, units, kernel, 0, ofInput, 0, inputs);
      },
    };
  },
  convolution(layer, take) {
    const [height, width, channels] = layer.input, [rows, columns, filters] = layer.output;
    const [high, wide] = layer.size, [down, right] = layer.strides, [above, left] = layer.before;
    const kernel = take(high * wide * channels * filters), bias = take(filters);
    // Calls use(from, length, weight, place): `length` values of the input from `from` on lie under the row of the
    // kernel that begins at `weight`, where it makes the output at `place`. Both lie in one piece, for channels are last.
    const visit = (use) => {
      for (let row = 0; row < rows; row++) for (let column = 0; column < columns; column++) {
        const first = column * right - left;
        const begin = Math.max(0, -first), end = Math.min(wide, width - first);
        for (let y = 0; y < high; y++) {
          const inRow = row * down + y - above;
          if (inRow < 0 || inRow >= height) continue;
          use((inRow * width + first + begin) * channels, (end - begin) * channels,
            (y * wide + begin) * channels * filters, (row * columns + column) * filters);
        }
      }
    };
    return {
      forward(input, output) {
        for (let place = 0; place < output.length; place += filters) output.set(bias, place);
        visit((from, length, weight, place) => addProduct(input, from, length, kernel, weight, output, place, filters));
      },
      backward(input, output, ofOutput, ofInput) {
        ofInput.fill(0);
        visit((from, length, weight, place) => addTransposed(ofOutput, place, filters, kernel, weight, ofInput, from, length));
      },
    };
  },
};

// output += input x kernel, of `length` inputs and `filters` outputs; four inputs at once, which is twice as fast.
function addProduct(input, from, length, kernel, weight, output, place, filters) {
  let i = 0;
  for (; i + 3 < length; i += 4) {
    const a = input[from + i], b = input[from + i + 1], c = input[from + i + 2], d = input[from + i + 3];
    const first = weight + i * filters, second = first + filters, third = second + filters, fourth = third + filters;
    for (let j = 0; j < filters; j++)
      output[place + j] += a * kernel[first + j] + b * kernel[second + j] + c * kernel[third + j] + d * kernel[fourth + j];
  }
  for (; i < length; i++) {
    const a = input[from + i], first = weight + i * filters;
    for (let j = 0; j < filters; j++) output[place + j] += a * kernel[first + j];
  }
}

// ofInput += ofOutput x kernel, transposed.
function addTransposed(ofOutput, place, filters, kernel, weight, ofInput, from, length) {
  let i = 0;
  for (; i + 3 < length; i += 4) {
    const first = weight + i * filters, second = first + filters, third = second + filters, fourth = third + filters;
    let a = 0, b = 0, c = 0, d = 0;
    for (let j = 0; j < filters; j++) {
      const value = ofOutput[place + j];
      a += kernel[first + j] * value; b += kernel[second + j] * value;
      c += kernel[third + j] * value; d += kernel[fourth + j] * value;
    }
    ofInput[from + i] += a; ofInput[from + i + 1] += b; ofInput[from + i + 2] += c; ofInput[from + i + 3] += d;
  }
  for (; i < length; i++) {
    const first = weight + i * filters;
    let a = 0;
    for (let j = 0; j < filters; j++) a += kernel[first + j] * ofOutput[place + j];
    ofInput[from + i] += a;
  }
}

// described: the layers of mnist_cnn.models.plain_layers. weights: a Float32Array of all of them.
function makeNetwork(described, weights) {
  let taken = 0;
  const take = (length) => weights.subarray(taken, taken += length);
  const layers = described.map((layer) => LAYERS[layer.kind](layer, take));
  const values = described.map((layer) => new Float32Array(count(layer.output)));
  const gradients = described.map((layer) => new Float32Array(count(layer.input)));
  const lastMap = described.findLastIndex((layer) => layer.output.length === 3);
  let image = null;
  return {
    mapSize: lastMap < 0 ? 0 : values[lastMap].length,
    // The logits of an image: an array that the next call writes over.
    forward(pixels) {
      image = pixels;
      layers.forEach((layer, i) => layer.forward(i ? values[i - 1] : image, values[i]));
      return values.at(-1);
    },
    // The gradient in the last image's pixels, of the gradient in its logits. direction: added to that in the last
    // feature map, or null.
    backward(ofLogits, direction) {
      for (let i = layers.length - 1; i >= 0; i--) {
        const ofOutput = i === layers.length - 1 ? ofLogits : gradients[i + 1];
        if (direction && i === lastMap) for (let j = 0; j < direction.length; j++) ofOutput[j] += direction[j];
        layers[i].backward(i ? values[i - 1] : image, values[i], ofOutput, gradients[i]);
      }
      return gradients[0];
    },
  };
}

function softmax(logits, temperature = 1) {
  const most = Math.max(...logits), powers = Array.from(logits, (logit) => Math.exp((logit - most) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

// PCG's permutation of the 32-bit numbers, as `transforms.draws_of_images` uses it.
function hash(value) {
  const state = (Math.imul(value, 747796405) + 2891336453) >>> 0;
  const word = Math.imul(((state >>> ((state >>> 28) + 4)) ^ state) >>> 0, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}

// `length` numbers in [-1, 1) that depend on seed and step alone.
function draws(seed, step, length) {
  const stream = hash((hash(seed >>> 0) + step) >>> 0);
  return Float32Array.from({ length }, (_, i) => (hash((stream + i) >>> 0) >>> 8) * 2 ** -23 - 1);
}

const noise = (seed) => draws(seed, START, SIZE * SIZE).map((draw) => (draw + 1) / 2);

// [a, b, c, d, e, f]: the pixel (x, y) of what is seen is read from (a x + b y + c, d x + e y + f) of the image.
function poseMatrix(seed, pose) {
  const [turn, size, right, down, slant] = draws(seed, POSE, 5), centre = (SIZE - 1) / 2;
  const angle = turn * 12 * pose * Math.PI / 180, scale = 1 + size * 0.12 * pose, lean = slant * 0.25 * pose;
  const a = Math.cos(angle) / scale, d = Math.sin(angle) / scale, b = lean * a - d, e = lean * d + a;
  return [a, b, centre - a * centre - b * centre + right * pose, d, e, centre - d * centre - e * centre + down * pose];
}

function inverse([a, b, c, d, e, f]) {
  const area = a * e - b * d;
  return [e / area, -b / area, (b * f - c * e) / area, -d / area, a / area, (c * d - a * f) / area];
}

// The image as read through a matrix: bilinear, black outside.
function project(image, [a, b, c, d, e, f], seen = new Float32Array(SIZE * SIZE)) {
  const at = (x, y) => (x >= 0 && y >= 0 && x < SIZE && y < SIZE ? image[y * SIZE + x] : 0);
  for (let row = 0; row < SIZE; row++) for (let column = 0; column < SIZE; column++) {
    const x = a * column + b * row + c, y = d * column + e * row + f, left = Math.floor(x), top = Math.floor(y);
    const upper = (left + 1 - x) * at(left, top) + (x - left) * at(left + 1, top);
    const lower = (left + 1 - x) * at(left, top + 1) + (x - left) * at(left + 1, top + 1);
    seen[row * SIZE + column] = (top + 1 - y) * upper + (y - top) * lower;
  }
  return seen;
}

// A search that changes `image` (a copy) step by step until the network sees in it the class `target`.
// settings: learning_rate, temperature, l2_weight, pose, feature_weight as `optimize` has them.
function makeSearch(network, image, target, seed, settings) {
  const pixels = Float32Array.from(image), size = pixels.length;
  const first = new Float32Array(size), second = new Float32Array(size);
  const seen = new Float32Array(size), back = new Float32Array(size);
  const matrix = settings.pose ? poseMatrix(seed, settings.pose) : null, wayBack = matrix && inverse(matrix);
  let direction = null, step = 0;
  if (settings.feature_weight) {
    direction = draws(seed, DIRECTION, network.mapSize);
    const length = Math.hypot(...direction);
    direction = direction.map((draw) => -settings.feature_weight * draw / length);
  }
  // The gradient of the loss in the pixels: cross-entropy at a temperature, direction, and L2 of the bare image.
  const gradient = () => {
    const logits = network.forward(matrix ? project(pixels, matrix, seen) : pixels);
    const ofLogits = Float32Array.from(softmax(logits, settings.temperature),
      (share, number) => (share - (number === target ? 1 : 0)) / settings.temperature);
    const ofSeen = network.backward(ofLogits, direction);
    // TensorFlow's own gradient of a projection: the inverse one.
    const ofPixels = matrix ? project(ofSeen, wayBack, back) : ofSeen;
    for (let i = 0; i < size; i++) ofPixels[i] += 2 * settings.l2_weight * pixels[i];
    return ofPixels;
  };
  return {
    pixels,
    gradient,
    get steps() { return step; },
    advance() {
      const slopes = gradient();
      step += 1;
      const rate = settings.learning_rate * Math.sqrt(1 - BETA_2 ** step) / (1 - BETA_1 ** step);
      for (let i = 0; i < size; i++) {
        first[i] += (slopes[i] - first[i]) * (1 - BETA_1);
        second[i] += (slopes[i] * slopes[i] - second[i]) * (1 - BETA_2);
        pixels[i] = Math.min(1, Math.max(0, pixels[i] - rate * first[i] / (Math.sqrt(second[i]) + EPSILON)));
      }
    },
  };
}
