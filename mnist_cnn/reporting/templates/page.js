document.querySelectorAll("th").forEach((head) => head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex, up = head.dataset.up !== "1";
  const key = (row) => { const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    return text === "" || isNaN(text) ? text : Number(text); };
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
