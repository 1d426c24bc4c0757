(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const source = byId("map-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const xy = new Uint16Array(bytes(data.xy)), ys = new Uint16Array(bytes(data.y));
  const shown = new Int32Array(bytes(data.shown)), cells = new Int32Array(bytes(data.cells));
  const canvas = byId("canvas"), peek = byId("peek"), picture = byId("peek-picture"), stage = canvas.parentElement;
  const context = canvas.getContext("2d");
  const ACROSS = 16, DOWN = 20, MARGIN = 34;
  const view = { scale: 1, x: 0, y: 0 };
  let width = 0, height = 0, ratio = 1, only = null, pictures = false, selected = -1, sheets = [], waiting = false;

  // Points by class, so that each colour is set once; without a label, the last number.
  const byClass = new Map();
  for (let i = 0; i < data.n; i++) {
    if (!byClass.has(ys[i])) byClass.set(ys[i], []);
    byClass.get(ys[i]).push(i);
  }
  const px = (i) => MARGIN + (xy[2 * i] / 65535) * (width - 2 * MARGIN) * view.scale + view.x;
  const py = (i) => MARGIN + (1 - xy[2 * i + 1] / 65535) * (height - 2 * MARGIN) * view.scale + view.y;
  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    return { of: (y) => read(y === data.noLabel ? "--none" : `--c${y % data.nColours}`), ink: read("--ink"), stage: read("--stage") };
  };
  const isOn = (y) => only === null || only === y;

  function draw() {
    waiting = false;
    const paint = colours();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const base = data.n > 50000 ? 0.8 : data.n > 8000 ? 1.3 : data.n > 2000 ? 2.2 : 3.4;
    const radius = base * Math.min(2.2, Math.sqrt(view.scale));
    const order = [...byClass.keys()].sort((a, b) => isOn(a) - isOn(b));
    for (const y of order) {
      context.globalAlpha = !isOn(y) ? 0.08 : pictures ? 0.3 : data.n > 8000 ? 0.5 : 0.78;
      context.fillStyle = paint.of(y);
      for (const i of byClass.get(y)) dot(px(i), py(i), radius);
    }
    context.globalAlpha = 1;
    if (pictures) drawPictures(paint);
    if (selected >= 0) ring(paint);
  }
  function dot(x, y, radius) {
    if (x < -radius || y < -radius || x > width + radius || y > height + radius) return;
    if (radius < 1.6) { context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius); return; }
    context.beginPath(); context.arc(x, y, radius, 0, 6.2832); context.fill();
  }
  function ring(paint) {
    const i = shown[selected];
    context.strokeStyle = paint.ink; context.lineWidth = 2;
    context.beginPath(); context.arc(px(i), py(i), 8, 0, 6.2832); context.stroke();
  }
  // Pictures where there is room: on a grid of the screen the first comer takes the place.
  function drawPictures(paint) {
    const side = Math.max(26, Math.min(data.cell, width < 500 ? 30 : 40) * Math.min(2, Math.sqrt(view.scale)));
    const taken = new Set();
    for (let s = 0; s < shown.length; s++) {
      const i = shown[s];
      if (cells[s] < 0 || !isOn(ys[i])) continue;
      const x = px(i), y = py(i);
      if (x < 0 || y < 0 || x > width || y > height) continue;
      const a = Math.round(x / side), b = Math.round(y / side), key = a * 10007 + b;
      if (taken.has(key)) continue;
      taken.add(key);
      const w = data.sizes[2 * cells[s]], h = data.sizes[2 * cells[s] + 1], fit = (side - 3) / Math.max(w, h);
      const left = a * side - (w * fit) / 2, top = b * side - (h * fit) / 2;
      paste(context, cells[s], left, top, w * fit, h * fit);
      context.strokeStyle = paint.of(ys[i]); context.lineWidth = 1.6;
      context.strokeRect(left, top, w * fit, h * fit);
    }
  }
  function paste(target, cell, x, y, w, h) {
    const sheet = sheets[Math.floor(cell / (ACROSS * DOWN))], at = cell % (ACROSS * DOWN);
    if (!sheet) return;
    target.drawImage(sheet, (at % ACROSS) * data.cell, Math.floor(at / ACROSS) * data.cell,
      data.sizes[2 * cell], data.sizes[2 * cell + 1], x, y, w, h);
  }
  function soon() { if (!waiting) { waiting = true; requestAnimationFrame(draw); } }
  function fit() {
    width = stage.clientWidth; height = stage.clientHeight; ratio = Math.min(2, window.devicePixelRatio || 1);
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    soon();
  }
  function zoom(factor, x = width / 2, y = height / 2) {
    const scale = Math.max(1, Math.min(60, view.scale * factor)), by = scale / view.scale;
    view.x = x - MARGIN - (x - MARGIN - view.x) * by; view.y = y - MARGIN - (y - MARGIN - view.y) * by;
    view.scale = scale;
    hold(); canvas.classList.toggle("zoomed", scale > 1);
    if (selected >= 0) tell(selected); else soon();
  }
  function hold() {
    const w = (width - 2 * MARGIN) * (view.scale - 1), h = (height - 2 * MARGIN) * (view.scale - 1);
    view.x = Math.max(-w, Math.min(0, view.x)); view.y = Math.max(-h, Math.min(0, view.y));
  }
  function nearest(x, y, reach) {
    let best = -1, least = reach * reach;
    for (let s = 0; s < shown.length; s++) {
      const i = shown[s];
      if (!isOn(ys[i])) continue;
      const d = (px(i) - x) ** 2 + (py(i) - y) ** 2;
      if (d < least) { least = d; best = s; }
    }
    return best;
  }
  function tell(s) {
    selected = s;
    peek.hidden = s < 0;
    if (s >= 0) {
      const i = shown[s], cell = cells[s], text = byId("peek-text");
      picture.hidden = cell < 0;
      if (cell >= 0) {
        const w = data.sizes[2 * cell], h = data.sizes[2 * cell + 1], grow = 168 / Math.max(w, h);
        const drawn = [Math.round(w * grow), Math.round(h * grow)];
        picture.width = drawn[0] * ratio; picture.height = drawn[1] * ratio;
        picture.style.width = drawn[0] + "px"; picture.style.height = drawn[1] + "px";
        const target = picture.getContext("2d");
        target.imageSmoothingQuality = "high";
        paste(target, cell, 0, 0, picture.width, picture.height);
      }
      const name = document.createElement("b"), file = document.createElement("span");
      name.textContent = data.names[ys[i]]; file.textContent = data.files[s];
      text.replaceChildren(name, file);
      byId("spoken").textContent = `${data.names[ys[i]]}, ${data.files[s]}`;
      const x = px(i), y = py(i), w = peek.offsetWidth, h = peek.offsetHeight;
      const left = x + 16 + w > width ? x - 16 - w : x + 16;
      peek.style.transform = `translate(${Math.max(4, Math.min(width - w - 4, left))}px, ${Math.max(4, Math.min(height - h - 4, y - h / 2))}px)`;
    }
    soon();
  }
  // With the arrow keys: the nearest photograph in that direction, those straight ahead first.
  function walk(dx, dy) {
    if (selected < 0) { tell(nearest(width / 2, height / 2, 1e6)); return; }
    const x = px(shown[selected]), y = py(shown[selected]);
    let best = -1, least = Infinity;
    for (let s = 0; s < shown.length; s++) {
      const i = shown[s], ahead = (px(i) - x) * dx + (py(i) - y) * dy, aside = Math.abs((px(i) - x) * dy) + Math.abs((py(i) - y) * dx);
      if (s === selected || !isOn(ys[i]) || ahead <= 0.5) continue;
      const d = ahead + 2.5 * aside;
      if (d < least) { least = d; best = s; }
    }
    if (best >= 0) { reveal(shown[best]); tell(best); }
  }
  function reveal(i) {
    if (px(i) < 20) view.x += 60 - px(i); if (px(i) > width - 20) view.x -= px(i) - width + 60;
    if (py(i) < 20) view.y += 60 - py(i); if (py(i) > height - 20) view.y -= py(i) - height + 60;
    hold();
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (e) => { drag = { x: e.offsetX, y: e.offsetY, vx: view.x, vy: view.y }; });
  canvas.addEventListener("pointermove", (e) => {
    if (drag && view.scale > 1 && e.buttons) {
      view.x = drag.vx + e.offsetX - drag.x; view.y = drag.vy + e.offsetY - drag.y;
      hold(); tell(-1);
    } else { tell(nearest(e.offsetX, e.offsetY, 28)); }
  });
  canvas.addEventListener("pointerup", (e) => { drag = null; tell(nearest(e.offsetX, e.offsetY, 34)); });
  canvas.addEventListener("pointerleave", () => { drag = null; tell(-1); });
  canvas.addEventListener("wheel", (e) => {
    // Rolling past the map must not be caught by it: it zooms once it has been chosen, or with Ctrl.
    if (!e.ctrlKey && document.activeElement !== canvas) return;
    e.preventDefault(); zoom(Math.exp(-e.deltaY / 400), e.offsetX, e.offsetY);
  }, { passive: false });
  canvas.addEventListener("dblclick", (e) => zoom(2, e.offsetX, e.offsetY));
  canvas.addEventListener("keydown", (e) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (steps[e.key]) walk(...steps[e.key]);
    else if (e.key === "+" || e.key === "=") zoom(1.5);
    else if (e.key === "-") zoom(1 / 1.5);
    else if (e.key === "0") zoom(0.001);
    else if (e.key === "Escape") tell(-1);
    else return;
    e.preventDefault();
  });
  byId("in").addEventListener("click", () => zoom(1.6));
  byId("out").addEventListener("click", () => zoom(1 / 1.6));
  byId("whole").addEventListener("click", () => zoom(0.001));
  const mode = byId("mode");
  if (mode) mode.addEventListener("click", () => {
    pictures = !pictures;
    mode.setAttribute("aria-pressed", String(pictures));
    soon();
  });
  const chips = [...document.querySelectorAll(".chip")];
  for (const chip of chips) chip.addEventListener("click", () => {
    const y = chip.dataset.y === "all" ? null : Number(chip.dataset.y);
    const wanted = y === -1 ? data.noLabel : y;
    only = wanted === null || only === wanted ? null : wanted;
    for (const other of chips) {
      const of = other.dataset.y === "all" ? null : Number(other.dataset.y) === -1 ? data.noLabel : Number(other.dataset.y);
      other.setAttribute("aria-pressed", String(of === only));
    }
    for (const circle of document.querySelectorAll("#sizes .dot")) {
      const of = Number(circle.dataset.y) === -1 ? data.noLabel : Number(circle.dataset.y);
      circle.classList.toggle("dim", only !== null && of !== only);
    }
    tell(-1);
  });
  new ResizeObserver(fit).observe(stage);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", soon);
  fit();
  Promise.all(data.sheets.map((uri) => new Promise((done) => {
    const image = new Image();
    image.onload = () => done(image); image.onerror = () => done(null);
    image.src = uri;
  }))).then((all) => { sheets = all; document.documentElement.dataset.ready = "yes"; soon(); });
})();
