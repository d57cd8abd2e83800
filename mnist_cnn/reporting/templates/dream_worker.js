// The worker: it reads an image, or dreams and shows the way. Whatever it is asked ends the dream before it.
if (typeof WorkerGlobalScope !== "undefined") {
  const MILLISECONDS_BETWEEN_PICTURES = 60;
  let network = null, current = 0, search = null, steps = 0;
  const show = (kind, pixels, step) =>
    postMessage({ kind, pixels: Float32Array.from(pixels), shares: softmax(network.forward(pixels)), step, id: current });
  // By a message to itself: a browser lets a timer within a timer wait.
  const turn = new MessageChannel();
  turn.port1.onmessage = ({ data }) => { if (data === current) dream(); };
  const dream = () => {
    const until = performance.now() + MILLISECONDS_BETWEEN_PICTURES;
    while (search.steps < steps && performance.now() < until) search.advance();
    show(search.steps < steps ? "step" : "end", search.pixels, search.steps);
    if (search.steps < steps) turn.port2.postMessage(current);
  };
  onmessage = ({ data }) => {
    if (data.kind === "load") network = makeNetwork(data.layers, data.weights);
    else current = data.id;
    if (data.kind === "read") show("read", data.pixels);
    if (data.kind === "dream") {
      search = makeSearch(network, data.pixels ?? noise(data.seed), data.target, data.seed, data.settings);
      steps = data.settings.steps;
      dream();
    }
  };
}
