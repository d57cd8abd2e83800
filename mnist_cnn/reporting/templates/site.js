(() => {
  const runs = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const element = (name, text, attributes = {}) => { const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value)); return node; };
  const names = (part) => [...new Set(runs.flatMap((run) => Object.keys(run[part])))].sort();
  const number = (value) => (typeof value === "number" ? (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)))) : value ?? "");
  const clock = (seconds) => (seconds === null ? "" : seconds < 60 ? `${seconds.toFixed(1)} s`
    : `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")} min`);
  const usual = ["metrics.test_accuracy", "metrics.recognised_rate", "metrics.diversity", "params.learning_rate",
    "params.l2_weight"];
  const columns = ["metrics", "params"].flatMap((part) => names(part).map((name) => `${part}.${name}`));
  const chosen = new Set(usual.filter((name) => columns.includes(name)));
  const several = new Set(runs.map((run) => run.experiment)).size > 1;
  const ticked = new Set();
  let order = "started", up = false;
  const value = (run, column) => { const [part, ...rest] = column.split(".");
    if (!["metrics", "params", "made_by"].includes(part)) return run[column];
    const found = run[part][rest.join(".")];
    return part === "params" && found !== undefined && found !== "" && !isNaN(found) ? Number(found) : found; };
  const rank = (a, b) => (a === undefined || a === null ? 1 : b === undefined || b === null ? -1
    : typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1) : typeof a === "number" ? -1 : 1);
  const shown = () => { const words = get("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = get("kind").value, below = get("below").checked;
    return runs.filter((run) => (!kind || run.kind === kind) && (below || kind || words.length || !run.parent)
      && words.every((word) => [run.name, run.kind, run.status, run.run_id, run.experiment,
        ...Object.entries(run.params).flat()].join(" ").toLowerCase().includes(word)))
      .sort((a, b) => rank(value(a, order), value(b, order))); };
  const draw = () => {
    const head = element("tr"), fixed = [["name", "name"], ["kind", "kind"], ["status", "state"],
      ["started", "started"], ["seconds", "time"], ...(several ? [["experiment", "experiment"]] : [])];
    head.append(element("th", "", { "aria-label": "compare" }));
    for (const [column, title] of [...fixed, ...[...chosen].map((name) => [name, name.replace(/^[a-z]+\./, "")])]) {
      const cell = element("th", title + (column === order ? (up ? " ↑" : " ↓") : ""), { class: "text", tabindex: 0 });
      cell.addEventListener("click", () => { up = column === order ? !up : false; order = column; draw(); });
      cell.addEventListener("keydown", (event) => { if (event.key === "Enter") cell.click(); });
      head.append(cell);
    }
    get("runs").tHead.replaceChildren(head);
    get("runs").tBodies[0].replaceChildren(...shown().map((run) => {
      const row = element("tr"), tick = element("input", undefined, { type: "checkbox", "aria-label": `compare ${run.name}` });
      tick.checked = ticked.has(run);
      tick.addEventListener("change", () => { if (tick.checked) ticked.add(run); else ticked.delete(run); compare(); });
      const cells = [tick, element("a", run.name, { href: `runs/${run.run_id}/index.html` }), run.kind, run.status,
        new Date(run.started).toISOString().slice(0, 16).replace("T", " "), clock(run.seconds),
        ...(several ? [run.experiment] : []),
        ...[...chosen].map((name) => number(value(run, name)))];
      for (const content of cells) { const cell = element("td", undefined, { class: "text" }); cell.append(content); row.append(cell); }
      return row; }));
  };
  const compare = () => {
    const two = [...ticked];
    get("compared").replaceChildren();
    if (two.length < 2) return;
    const table = element("table"), head = element("tr"), body = element("tbody");
    head.append(element("th", "what differs", { class: "text" }), ...two.map((run) => element("th", run.name, { class: "text" })));
    const made = names("made_by").map((name) => `made_by.${name}`);
    for (const column of [...columns.filter((name) => !name.startsWith("metrics.system/")), ...made]) {
      const values = two.map((run) => value(run, column));
      if (new Set(values.map(String)).size < 2) continue;
      const short = values.map(number), texts = new Set(short.map(String)).size < 2 ? values.map((one) => one ?? "") : short;
      const row = element("tr"); row.append(element("td", column.replace(/^[a-z_]+\./, ""), { class: "text" }),
        ...texts.map((text) => element("td", text, { class: "text" })));
      body.append(row);
    }
    table.append(element("thead"), body); table.tHead.append(head);
    const wide = element("div", undefined, { class: "wide" }); wide.append(table);
    get("compared").append(element("h2", "Side by side"), wide, element("h2", "Runs"));
  };
  [...new Set(runs.map((run) => run.kind))].filter(Boolean).sort().forEach((kind) => get("kind").append(element("option", kind, { value: kind })));
  columns.forEach((name) => { const label = element("label"), box = element("input", undefined, { type: "checkbox" });
    box.checked = chosen.has(name);
    box.addEventListener("change", () => { if (box.checked) chosen.add(name); else chosen.delete(name); draw(); });
    label.append(box, ` ${name.replace(/^[a-z]+\./, "")}`); get("columns").append(label); });
  ["search", "kind", "below"].forEach((id) => get(id).addEventListener("input", draw));
  draw();
})();
