"use strict";
// Looks up the operating points that the page holds; every number is shown as it stands there.

for (const part of document.querySelectorAll("[data-sliders]")) start(part);

function start(part) {
  const data = JSON.parse(part.querySelector("script").textContent);
  const shared = part.querySelector("[data-shared]");
  const exits = [...part.querySelectorAll("[data-exit]")];
  const cells = [...part.querySelectorAll("[data-column]")];
  const columns = cells.map((cell) => cell.previousElementSibling.textContent);
  const output = part.querySelector("output");
  const policy = part.querySelector("textarea");
  const images = [...part.closest("article").querySelectorAll("[data-image]")];
  const differing = part.closest("article").querySelector("[data-differing]");

  function moveShared() {
    const place = Number(shared.value);
    const threshold = data.shared.thresholds[place];
    const all = data.policy.exits.slice(1).map(() => threshold);
    show("one threshold for all exits", all, data.shared.points[place]);
    decide("shared", all.map(() => place));
  }

  function moveExits() {
    // The grid's last exit moves fastest.
    const places = exits.map((each) => Number(each.value));
    const sizes = data.grid.thresholds.map((each) => each.length);
    const place = places.reduce((before, own, exit) => before * sizes[exit] + own, 0);
    const thresholds = places.map((own, exit) => data.grid.thresholds[exit][own]);
    show("a threshold for each exit", thresholds, data.grid.points[place]);
    decide("grid", places);
  }

  function show(kind, thresholds, numbers) {
    const shown = numbers.map((value, column) => value.toFixed(data.digits[column]));
    cells.forEach((cell, column) => { cell.textContent = shown[column]; });
    const named = new Set(thresholds.map(written));
    const words = `${kind}: ${[...(named.size > 1 ? thresholds.map(written) : named)].join(", ")} (${data.unit})`;
    output.textContent = `${words}; ${shown[0]} % at ${shown[1]} GFLOPs per image`;
    exits.forEach((each, exit) => describe(each, written(data.grid.thresholds[exit][Number(each.value)])));
    describe(shared, written(data.shared.thresholds[Number(shared.value)]));
    mark(numbers[1], numbers[0]);
    write(thresholds, shown);
  }

  function decide(slider, places) {
    // An image leaves at the first exit whose slider has reached the place that is kept for it.
    let differ = 0;
    for (const each of images) {
      const own = data.images[each.dataset.image];
      const found = own[slider].findIndex((place, exit) => places[exit] >= place);
      const exit = found < 0 ? data.exits.length - 1 : found;
      differ += own.differs[exit];
      each.classList.toggle("differs", own.differs[exit]);
      each.querySelector("[data-now]").textContent = `now ${data.exits[exit]}: ${own.says[exit]}`;
    }
    if (differing) differing.textContent = `${differ} of these ${images.length} pictures`;
  }

  function describe(slider, threshold) {
    slider.setAttribute("aria-valuetext", `threshold ${threshold} ${data.unit}`);
  }

  function written(threshold) {
    return threshold === data.never ? "never" : String(Number(threshold.toPrecision(4)));
  }

  function mark(gflops, accuracy) {
    const marker = part.querySelector(".marker");
    const x = data.x.offset + data.x.factor * gflops;
    const y = data.y.offset + data.y.factor * accuracy;
    marker.removeAttribute("hidden");
    marker.querySelector("path").setAttribute("transform", `translate(${x.toFixed(1)} 0)`);
    marker.querySelector("circle").setAttribute("cx", x.toFixed(1));
    marker.querySelector("circle").setAttribute("cy", y.toFixed(1));
  }

  function write(thresholds, shown) {
    const chosen = { ...data.policy.chosen };
    columns.forEach((name, column) => { chosen[name] = Number(shown[column]); });
    policy.value = JSON.stringify({ ...data.policy, thresholds, chosen }, null, 2);
  }

  async function copy() {
    const said = part.querySelector(".copied");
    policy.select();
    try {
      await navigator.clipboard.writeText(policy.value);
      said.textContent = "copied";
    } catch {
      said.textContent = "selected; copy it with the keyboard or the menu";
    }
  }

  part.querySelector(".sliders").hidden = false;
  part.closest("article").querySelectorAll(".moves").forEach((each) => { each.hidden = false; });
  part.querySelector("button").addEventListener("click", copy);
  shared.value = data.shared.start;
  shared.addEventListener("input", moveShared);
  exits.forEach((each, exit) => {
    each.value = data.grid.start[exit];
    each.addEventListener("input", moveExits);
  });
  if (data.begin === "grid") moveExits();
  else moveShared();
}
