(() => {
  const points = JSON.parse(document.getElementById("points").textContent), place = document.getElementById("curves");
  const svg = (name, attributes, text) => { const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    if (text !== undefined) node.textContent = text; return node; };
  for (const [name, all] of Object.entries(points)) {
    const curve = all.filter((point) => point[1] !== null);
    if (curve.length < 2) continue;
    const xs = curve.map((point) => point[0]), ys = curve.map((point) => point[1]);
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const x = (value) => 48 + 300 * (value - left) / (right - left || 1);
    const y = (value) => 150 - 120 * (value - low) / (high - low || 1);
    const figure = svg("svg", { viewBox: "0 0 360 180", role: "img", "aria-label": name });
    figure.append(svg("text", { x: 48, y: 16, "font-size": 13, "font-weight": 600 }, name));
    for (const value of [low, high]) figure.append(svg("text",
      { x: 42, y: y(value) + 4, "font-size": 10, "text-anchor": "end" }, Number(value.toPrecision(3))));
    for (const value of [left, right]) figure.append(svg("text",
      { x: x(value), y: 168, "font-size": 10, "text-anchor": "middle" }, value));
    figure.append(svg("path", { d: "M48 30V150H350", fill: "none", stroke: "currentColor", opacity: .3 }));
    figure.append(svg("polyline", { points: curve.map((point) => `${x(point[0])},${y(point[1])}`).join(" "),
      fill: "none", stroke: "var(--accent)", "stroke-width": 1.8 }));
    const holder = document.createElement("figure"); holder.append(figure); place.append(holder);
  }
})();
