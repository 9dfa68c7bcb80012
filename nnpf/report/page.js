"use strict";
// Brings a report to life: a pointer over the plots, tabs, and pictures to look at. It reads what stands in the page,
// and loads nothing. All text from outside goes in as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const COMPONENTS = ["Y", "Cb", "Cr"];
  const MEASURES = [["Y", 3], ["Cb", 3], ["Cr", 3], ["SSIM", 5], ["MS-SSIM", 5]];

  document.documentElement.classList.add("js");

  function make(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function number(value, digits, signed = false) {
    if (value === "inf") return "∞";
    const text = Math.abs(value).toFixed(digits);
    if (!/[1-9]/.test(text)) return text;
    return (value < 0 ? "−" : signed ? "+" : "") + text;
  }

  const finite = (value) => typeof value === "number";
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // --- over the pictures --------------------------------------------------------------------------------------------

  function picturesOf(chapter) {
    return data.chapters[chapter].pictures;
  }

  // [name, text] of everything that is known of a picture.
  function described(picture) {
    const found = [["picture", String(picture.output)]];
    if (picture.poc !== null) found.push(["POC", String(picture.poc)]);
    if (picture.clvs !== null) found.push(["CLVS", String(picture.clvs)]);
    if (picture.type !== null) found.push(["", `${picture.type}, QP ${picture.qp}`]);
    if (picture.filters !== null) found.push(["filter", picture.filters.join(" + ") || "none"]);
    MEASURES.forEach(([name, digits], at) => {
      const before = picture.before && picture.before[at];
      const after = picture.after && picture.after[at];
      if (after === null || after === undefined) return;
      let text = number(after, digits);
      if (before !== null && before !== undefined) {
        text = `${number(before, digits)} → ${text}`;
        if (finite(before) && finite(after)) text += ` (${number(after - before, digits, true)})`;
      }
      found.push([name, text]);
    });
    if (picture.ms !== null) found.push(["filtered in", `${picture.ms} ms`]);
    return found;
  }

  const viewers = new Map();

  function bringPlotsToLife(section) {
    const chapter = Number(section.dataset.chapter);
    const pictures = picturesOf(chapter);
    const slider = one(".cursor-bar input", section);
    const readout = one(".cursor-bar .readout", section);
    const look = one(".look", section);
    const stages = all(".plot .stage", section);
    const cursors = stages.map((stage) => {
      const line = make("div", null, { class: "cursor" });
      line.hidden = true;
      stage.append(line);
      return line;
    });
    const viewOf = (at) => data.chapters[chapter].views.findIndex((view) => view.output === at);

    function show(at) {
      const picture = pictures[at];
      if (!picture) return;
      slider.value = at;
      const place = `${((at + 0.5) / pictures.length) * 100}%`;
      for (const line of cursors) {
        line.hidden = false;
        line.style.left = place;
      }
      const parts = described(picture);
      readout.replaceChildren(
        ...parts.map(([name, text]) => {
          const item = make("span", null);
          if (name) item.append(make("b", name));
          item.append(text);
          return item;
        }),
      );
      slider.setAttribute("aria-valuetext", parts.map((part) => part.join(" ").trim()).join(", "));
      if (look) look.hidden = viewOf(at) < 0;
    }

    slider.addEventListener("input", () => show(Number(slider.value)));
    for (const stage of stages) {
      const pictureAt = (event) => {
        const box = stage.getBoundingClientRect();
        return clamp(Math.floor(((event.clientX - box.left) / box.width) * pictures.length), 0, pictures.length - 1);
      };
      stage.addEventListener("pointermove", (event) => show(pictureAt(event)));
      stage.addEventListener("click", (event) => {
        const at = pictureAt(event);
        show(at);
        if (viewOf(at) >= 0) openView(at);
      });
    }
    function openView(at) {
      const viewer = viewers.get(chapter);
      if (viewer) viewer.open(viewOf(at));
    }
    if (look) look.addEventListener("click", () => openView(Number(slider.value)));

    const values = one(".values", section);
    values.addEventListener("toggle", () => {
      const place = one(".values-table", values);
      if (values.open && !place.firstChild) place.append(valuesTable(pictures));
    });
  }

  function valuesTable(pictures) {
    const table = make("table", null);
    const used = MEASURES.map((_, at) => pictures.some((p) => p.after && p.after[at] !== null));
    const head = make("tr", null);
    const heads = ["picture", "POC", "CLVS", "filter"];
    MEASURES.forEach(([name], at) => used[at] && heads.push(`${name} decoded`, "filtered", "gain"));
    for (const text of heads) head.append(make("th", text, { scope: "col" }));
    table.append(make("thead", null), make("tbody", null));
    table.tHead.append(head);
    for (const picture of pictures) {
      const row = make("tr", null);
      const cells = [picture.output, picture.poc, picture.clvs, (picture.filters || []).join(" + ")];
      MEASURES.forEach(([, digits], at) => {
        if (!used[at]) return;
        const [before, after] = [picture.before, picture.after].map((side) => (side ? side[at] : null));
        const gain = finite(before) && finite(after) ? number(after - before, digits, true) : "";
        cells.push(...[before, after].map((value) => (value === null ? "" : number(value, digits))), gain);
      });
      for (const cell of cells) row.append(make("td", cell === null ? "" : String(cell)));
      table.tBodies[0].append(row);
    }
    return table;
  }

  // --- tabs ---------------------------------------------------------------------------------------------------------

  function bringTabsToLife(list) {
    const chapters = all(".chapter");
    const tabs = data.chapters.map((chapter, at) => {
      const tab = make("button", chapter.label, { role: "tab", type: "button", "aria-controls": `chapter-${at}` });
      tab.addEventListener("click", () => select(at));
      tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) select((at + step + tabs.length) % tabs.length, true);
      });
      return tab;
    });
    function select(chosen, focus = false) {
      tabs.forEach((tab, at) => {
        tab.setAttribute("aria-selected", at === chosen);
        tab.tabIndex = at === chosen ? 0 : -1;
        chapters[at].hidden = at !== chosen;
      });
      if (focus) tabs[chosen].focus();
      const viewer = viewers.get(chosen);
      if (viewer) viewer.start();
    }
    list.append(...tabs);
    select(0);
  }

  // --- samples ------------------------------------------------------------------------------------------------------

  // The bytes of a grey PNG file, rows one after the other. (A canvas would give 8 of 16 bits, and some browsers alter
  // what is read from it.)
  async function readPng(bytes) {
    const view = new DataView(bytes.buffer);
    const parts = [];
    let width = 0, height = 0, bits = 8;
    for (let at = 8; at < bytes.length; ) {
      const size = view.getUint32(at);
      const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      if (type === "IHDR") {
        width = view.getUint32(at + 8);
        height = view.getUint32(at + 12);
        bits = bytes[at + 16];
      } else if (type === "IDAT") parts.push(bytes.subarray(at + 8, at + 8 + size));
      at += size + 12;
    }
    const inflated = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
    const raw = new Uint8Array(await new Response(inflated).arrayBuffer());
    const unit = bits / 8, stride = width * unit;
    const rows = new Uint8Array(stride * height);
    for (let y = 0; y < height; y++) {
      const filter = raw[y * (stride + 1)], from = y * (stride + 1) + 1, to = y * stride;
      for (let x = 0; x < stride; x++) {
        const left = x >= unit ? rows[to + x - unit] : 0;
        const up = y ? rows[to + x - stride] : 0;
        let predicted = 0;
        if (filter === 1) predicted = left;
        else if (filter === 2) predicted = up;
        else if (filter === 3) predicted = (left + up) >> 1;
        else if (filter === 4) {
          const corner = y && x >= unit ? rows[to + x - stride - unit] : 0;
          const guess = left + up - corner;
          const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
          predicted = a <= b && a <= c ? left : b <= c ? up : corner;
        }
        rows[to + x] = raw[from + x] + predicted;
      }
    }
    return { width, height, bits, rows };
  }

  // The planes of a source: samples, columns, and where a luma sample finds its chroma sample.
  async function readSource(source) {
    const text = atob(document.getElementById(source.image).src.split(",")[1]);
    const png = await readPng(Uint8Array.from(text, (c) => c.charCodeAt(0)));
    const planes = [];
    let row = 0;
    source.depths.forEach((depth, at) => {
      const [subX, subY] = at ? source.sub : [1, 1];
      const [x0, y0] = [Math.floor(source.left / subX), Math.floor(source.top / subY)];
      const columns = Math.ceil((source.left + source.width) / subX) - x0;
      const lines = Math.ceil((source.top + source.height) / subY) - y0;
      const samples = new Uint16Array(columns * lines);
      for (let y = 0; y < lines; y++) {
        for (let x = 0; x < columns; x++) {
          const i = (row + y) * png.width + x;
          const value = png.bits === 8 ? png.rows[i] : (png.rows[2 * i] << 8) | png.rows[2 * i + 1];
          samples[y * columns + x] = value >> (png.bits - depth);
        }
      }
      row += lines;
      const place = (x, y) =>
        (Math.floor((source.top + y) / subY) - y0) * columns + Math.floor((source.left + x) / subX) - x0;
      planes.push({ samples, depth, place });
    });
    return { ...source, planes };
  }

  const WEIGHTS = { 1: [0.2126, 0.0722], 4: [0.3, 0.11], 5: [0.299, 0.114], 6: [0.299, 0.114], 7: [0.212, 0.087], 9: [0.2627, 0.0593] };
  const NEARER = [86, 180, 233], FURTHER = [240, 128, 60], EVEN = [38, 41, 45];

  // RGBA of samples: all components as colours, or one as grey.
  function colours(source, component, matrix, full) {
    const { width, height, planes } = source;
    const image = new ImageData(width, height);
    const [kr, kb] = WEIGHTS[matrix], kg = 1 - kr - kb;
    const scaled = planes.map((plane, at) => {
      const unit = 2 ** (plane.depth - 8), top = 2 ** plane.depth - 1;
      if (full) return at ? (v) => (v - (top + 1) / 2) / top : (v) => v / top;
      return at ? (v) => (v / unit - 128) / 224 : (v) => (v / unit - 16) / 219;
    });
    const shown = component === "all" ? 0 : Number(component);
    const grey = component !== "all" || planes.length < 3;
    for (let y = 0, to = 0; y < height; y++) {
      for (let x = 0; x < width; x++, to += 4) {
        let r, g, b;
        if (grey) {
          const plane = planes[shown];
          r = g = b = plane ? (plane.samples[plane.place(x, y)] * 255) / (2 ** plane.depth - 1) : 128;
        } else {
          const [luma, cb, cr] = planes.map((plane, at) => scaled[at](plane.samples[plane.place(x, y)]));
          r = luma + 2 * (1 - kr) * cr;
          b = luma + 2 * (1 - kb) * cb;
          g = (luma - kr * r - kb * b) / kg;
          [r, g, b] = [r * 255, g * 255, b * 255];
        }
        image.data[to] = r;
        image.data[to + 1] = g;
        image.data[to + 2] = b;
        image.data[to + 3] = 255;
      }
    }
    return image;
  }

  // a - b of one component at a place, in steps of 8-bit samples. Lower bit depths are shifted up, as PSNR does it.
  function minus(a, b, component) {
    const [p, q] = [a.planes[component], b.planes[component]];
    const depth = Math.max(p.depth, q.depth), unit = 2 ** (depth - 8);
    const [up, uq] = [2 ** (depth - p.depth), 2 ** (depth - q.depth)];
    return (x, y) => (p.samples[p.place(x, y)] * up - q.samples[q.place(x, y)] * uq) / unit;
  }

  function differences(a, b, component, amplify, matrix) {
    const { width, height } = a;
    const image = new ImageData(width, height);
    const [kr, kb] = WEIGHTS[matrix], kg = 1 - kr - kb;
    const coloured = component === "all" && a.planes.length === 3;
    const of = coloured ? [0, 1, 2].map((c) => minus(a, b, c)) : [minus(a, b, component === "all" ? 0 : Number(component))];
    for (let y = 0, to = 0; y < height; y++) {
      for (let x = 0; x < width; x++, to += 4) {
        const luma = of[0](x, y);
        let r = luma, g = luma, blue = luma;
        if (coloured) {
          r = luma + 2 * (1 - kr) * of[2](x, y);
          blue = luma + 2 * (1 - kb) * of[1](x, y);
          g = (luma - kr * r - kb * blue) / kg;
        }
        image.data[to] = 128 + r * amplify;
        image.data[to + 1] = 128 + g * amplify;
        image.data[to + 2] = 128 + blue * amplify;
        image.data[to + 3] = 255;
      }
    }
    return image;
  }

  // Where the filter brought a sample nearer to the original (blue) or further away (orange).
  function nearer(sources, component, amplify) {
    const { decoded, filtered, original } = sources;
    const at = component === "all" ? 0 : Number(component);
    const [before, after] = [minus(decoded, original, at), minus(filtered, original, at)];
    const image = new ImageData(filtered.width, filtered.height);
    for (let y = 0, to = 0; y < filtered.height; y++) {
      for (let x = 0; x < filtered.width; x++, to += 4) {
        const change = Math.abs(after(x, y)) - Math.abs(before(x, y));
        const share = Math.min(1, (Math.abs(change) * amplify) / 128);
        const colour = change < 0 ? NEARER : FURTHER;
        for (let c = 0; c < 3; c++) image.data[to + c] = EVEN[c] + (colour[c] - EVEN[c]) * share;
        image.data[to + 3] = 255;
      }
    }
    return image;
  }

  // --- the viewer ---------------------------------------------------------------------------------------------------

  const DIFFERENCES = {
    change: ["filtered − decoded", ["filtered", "decoded"]],
    before: ["decoded − original", ["decoded", "original"]],
    after: ["filtered − original", ["filtered", "original"]],
    better: ["error change (blue smaller, orange larger)", ["decoded", "filtered", "original"]],
  };
  const SOURCES = ["decoded", "filtered", "original"];
  const STEPS = [0.125, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32];
  const GRAB = 14; // pixels around the divider that take hold of it

  class Viewer {
    constructor(section) {
      this.section = section;
      this.chapter = Number(section.dataset.chapter);
      this.views = data.chapters[this.chapter].views;
      this.panes = one(".panes", section);
      this.readout = one(".samples", section);
      this.controls = Object.fromEntries(all("[data-control]", section).map((c) => [c.dataset.control, c]));
      this.decoded = new Map(); // sources of views that were opened
      this.drawings = new Map();
      this.flipped = false;
      this.pointer = null;
      this.listen();
    }

    start() {
      if (this.sources) this.layout();
      else this.open(data.chapters[this.chapter].first, false);
    }

    async open(index, scroll = true) {
      this.index = index;
      this.controls.view.value = index;
      if (scroll) this.section.scrollIntoView({ block: "start" });
      if (!this.decoded.has(index)) this.decoded.set(index, this.read(this.views[index]));
      let sources;
      try {
        sources = await this.decoded.get(index);
      } catch (error) {
        this.section.classList.add("failed");
        this.panes.textContent = `This browser cannot unpack the pictures: ${error.message}`;
        return;
      }
      if (this.index !== index) return; // another one was asked for meanwhile
      const first = !this.sources;
      this.sources = sources;
      this.frame = sources.filtered || sources.decoded;
      this.drawings.clear();
      this.offer();
      if (first) this.setAmplification();
      this.layout();
      if (first) this.fit();
      this.section.dataset.shown = String(index);
    }

    async read(view) {
      const entries = Object.entries(view.sources).map(async ([name, source]) => [name, await readSource(source)]);
      return Object.fromEntries(await Promise.all(entries));
    }

    // What can be shown of these sources. Pictures of different sizes have no difference.
    offer() {
      const alike = (names) =>
        names.every((n) => {
          const source = this.sources[n];
          return source && source.width === this.frame.width && source.height === this.frame.height
            && source.planes.length === this.frame.planes.length && String(source.sub) === String(this.frame.sub);
        });
      const names = SOURCES.filter((n) => this.sources[n]).map((n) => [n, n]);
      const found = Object.entries(DIFFERENCES).filter(([, [, of]]) => alike(of)).map(([key, [text]]) => [key, text]);
      this.offered = [...names, ...found];
      for (const [control, preferred] of [["left", ["decoded"]], ["right", ["filtered", "original"]]]) {
        const select = this.controls[control];
        const kept = select.value;
        select.replaceChildren(...this.offered.map(([value, text]) => make("option", text, { value })));
        const wanted = [kept, ...preferred, this.offered[0][0]];
        select.value = wanted.find((value) => this.offered.some(([known]) => known === value));
      }
    }

    // So strong that what the filter changed can be seen.
    setAmplification() {
      if (!this.offered.some(([key]) => key === "change")) return;
      const change = minus(this.sources.filtered, this.sources.decoded, 0);
      const sizes = [];
      for (let y = 0; y < this.frame.height; y += 3) {
        for (let x = 0; x < this.frame.width; x += 3) sizes.push(Math.abs(change(x, y)));
      }
      sizes.sort((a, b) => a - b);
      const high = sizes[Math.floor(sizes.length * 0.98)] || 0.25;
      this.controls.amplify.value = clamp(Math.floor(Math.log2(80 / high)), 0, 7);
    }

    get amplification() {
      return 2 ** Number(this.controls.amplify.value);
    }

    drawing(name) {
      const component = this.controls.component.value;
      const { matrix, full } = data.chapters[this.chapter];
      const key = `${name} ${component}${DIFFERENCES[name] ? ` ${this.amplification}` : ""}`;
      if (!this.drawings.has(key)) {
        let image;
        if (name === "better") image = nearer(this.sources, component, this.amplification);
        else if (DIFFERENCES[name]) {
          const [a, b] = DIFFERENCES[name][1].map((n) => this.sources[n]);
          image = differences(a, b, component, this.amplification, matrix);
        } else image = colours(this.sources[name], component, matrix, full);
        const canvas = make("canvas", null, { width: image.width, height: image.height });
        canvas.getContext("2d").putImageData(image, 0, 0);
        if (this.drawings.size > 24) this.drawings.clear();
        this.drawings.set(key, canvas);
      }
      return this.drawings.get(key);
    }

    // What each pane shows: one drawing, or two with a divider.
    shown() {
      const { layout, left, right } = this.controls;
      const sides = this.flipped ? [right.value, left.value] : [left.value, right.value];
      if (layout.value === "wipe") return [sides];
      if (layout.value === "one") return [[sides[0]]];
      const rest = ["original", "better", "change"].filter(
        (key) => !sides.includes(key) && this.offered.some(([known]) => known === key),
      );
      return [...sides, ...rest].slice(0, 4).map((key) => [key]);
    }

    layout() {
      const wanted = this.shown();
      const many = wanted.length > 1;
      this.panes.classList.toggle("grid-2", many);
      if (this.panes.children.length !== wanted.length || !one("canvas", this.panes)) {
        this.panes.replaceChildren(
          ...wanted.map(() => {
            const pane = make("div", null, { class: "pane" });
            pane.append(
              make("canvas", "", { role: "img" }),
              make("span", "", { class: "tag left" }),
              make("span", "", { class: "tag right" }),
            );
            return pane;
          }),
        );
      }
      const { layout } = this.controls;
      this.controls.divider.parentElement.hidden = layout.value !== "wipe";
      const shows = wanted.flat();
      this.controls.amplify.parentElement.hidden = !shows.some((key) => DIFFERENCES[key]);
      this.draw();
    }

    get ratio() {
      return window.devicePixelRatio || 1;
    }

    paneWidth() {
      const pane = this.panes.firstElementChild;
      return pane ? pane.clientWidth : 0;
    }

    // Whole device pixels for each sample where there is room, so that samples look alike.
    fitScale() {
      const room = Math.min(this.paneWidth() / this.frame.width, (0.78 * window.innerHeight) / this.frame.height);
      const pixels = room * this.ratio;
      return (pixels >= 1 ? Math.floor(pixels) : pixels) / this.ratio;
    }

    fit() {
      this.scale = null;
      this.centre = [this.frame.width / 2, this.frame.height / 2];
      this.draw();
    }

    zoomed() {
      return this.scale === null ? this.fitScale() : this.scale;
    }

    zoom(direction, anchor = null) {
      const now = this.zoomed() * this.ratio;
      const next = direction > 0 ? STEPS.find((s) => s > now * 1.01) : STEPS.findLast((s) => s < now * 0.99);
      if (!next) return;
      const scale = next / this.ratio;
      if (anchor) {
        // The sample under the pointer stays there.
        const share = this.zoomed() / scale;
        this.centre = this.centre.map((c, i) => anchor[i] + (c - anchor[i]) * share);
      }
      this.scale = scale;
      this.move(0, 0);
    }

    move(dx, dy) {
      const { width, height } = this.frame;
      this.centre = [clamp(this.centre[0] + dx, 0, width), clamp(this.centre[1] + dy, 0, height)];
      this.draw();
    }

    draw() {
      if (this.waiting || !this.sources) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.drawNow();
      });
    }

    drawNow() {
      if (this.paneWidth() === 0) return; // its tab is not shown
      if (!this.centre) this.centre = [this.frame.width / 2, this.frame.height / 2];
      const scale = this.zoomed(), ratio = this.ratio;
      const width = this.paneWidth();
      const height = Math.round(Math.min(this.frame.height * Math.max(scale, this.fitScale()), 0.78 * window.innerHeight));
      const view = this.views[this.index];
      this.shown().forEach((keys, at) => {
        const pane = this.panes.children[at];
        const canvas = one("canvas", pane);
        const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
        if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
        const context = canvas.getContext("2d");
        context.clearRect(0, 0, w, h);
        const size = [this.frame.width * scale * ratio, this.frame.height * scale * ratio];
        const x = Math.round(w / 2 - this.centre[0] * scale * ratio), y = Math.round(h / 2 - this.centre[1] * scale * ratio);
        const edge = this.edge(x, size[0], w);
        keys.forEach((key, side) => {
          context.save();
          if (keys.length > 1) {
            context.beginPath();
            context.rect(side ? edge : 0, 0, side ? w - edge : edge, h);
            context.clip();
          }
          context.imageSmoothingEnabled = scale * ratio < 1;
          context.imageSmoothingQuality = "high";
          context.drawImage(this.drawing(key), x, y, Math.round(size[0]), Math.round(size[1]));
          context.restore();
        });
        if (keys.length > 1) this.drawDivider(context, edge, h);
        if (this.pointer) this.drawPointer(context, x, y, scale * ratio);
        const [left, right] = all(".tag", pane);
        left.textContent = this.caption(keys[0], view);
        right.textContent = keys.length > 1 ? this.caption(keys[1], view) : "";
        right.hidden = keys.length < 2;
        canvas.setAttribute("aria-label", `picture ${view.output}: ${keys.map((k) => this.caption(k, view)).join(" | ")}`);
      });
      one(".zoom", this.section).textContent = `${Math.round(scale * ratio * 100)} %`;
      const amplify = this.controls.amplify;
      amplify.parentElement.lastElementChild.textContent = `×${this.amplification}`;
      amplify.setAttribute("aria-valuetext", `times ${this.amplification}`);
      this.describe();
    }

    edge(x, size, w) {
      const [from, to] = [Math.max(0, x), Math.min(w, x + size)];
      return Math.round(from + ((to - from) * Number(this.controls.divider.value)) / 1000);
    }

    drawDivider(context, edge, height) {
      const r = this.ratio, middle = height / 2;
      context.fillStyle = "#fff";
      context.fillRect(edge - r, 0, 2 * r, height);
      context.fillStyle = "#000";
      context.fillRect(edge + r, 0, r, height);
      context.beginPath();
      context.arc(edge, middle, 11 * r, 0, 7);
      context.fillStyle = "#fff";
      context.fill();
      context.strokeStyle = "#000";
      context.lineWidth = r;
      context.stroke();
      context.beginPath();
      for (const d of [-1, 1]) {
        context.moveTo(edge + d * 3 * r, middle - 4 * r);
        context.lineTo(edge + d * 7 * r, middle);
        context.lineTo(edge + d * 3 * r, middle + 4 * r);
      }
      context.fillStyle = "#000";
      context.fill();
    }

    drawPointer(context, x, y, scale) {
      const size = Math.max(scale, 5 * this.ratio);
      const middle = [0, 1].map((i) => (i ? y : x) + (this.pointer[i] + 0.5) * scale);
      for (const [colour, grow] of [["#000", 1.5], ["#fff", 0.5]]) {
        context.strokeStyle = colour;
        context.lineWidth = this.ratio;
        const side = size + 2 * grow * this.ratio;
        context.strokeRect(middle[0] - side / 2, middle[1] - side / 2, side, side);
      }
    }

    caption(key, view) {
      if (DIFFERENCES[key]) return `${DIFFERENCES[key][0]}, ×${this.amplification}`;
      const psnr = view.psnr[key];
      if (!psnr) return key;
      const at = this.controls.component.value === "all" ? 0 : Number(this.controls.component.value);
      return at < psnr.length ? `${key}, ${COMPONENTS[at]} ${number(psnr[at], 3)} dB` : key;
    }

    // The samples of all sources at the pointer.
    describe() {
      if (!this.pointer) {
        this.readout.textContent = "Point at a picture for its samples.";
        return;
      }
      const [x, y] = this.pointer;
      const parts = [["x, y", `${this.frame.left + x}, ${this.frame.top + y}`]];
      for (const [name, source] of Object.entries(this.sources)) {
        const sx = Math.floor((x * source.width) / this.frame.width);
        const sy = Math.floor((y * source.height) / this.frame.height);
        const values = source.planes.map((plane, at) => `${COMPONENTS[at]} ${plane.samples[plane.place(sx, sy)]}`);
        parts.push([name, `${values.join(" ")}${source.depths[0] > 8 ? ` (${source.depths[0]} bit)` : ""}`]);
      }
      this.readout.replaceChildren(
        ...parts.map(([name, text]) => {
          const item = make("span", null);
          item.append(make("b", name), text);
          return item;
        }),
      );
    }

    // The place of an event: in the pane in CSS pixels, and in the picture in samples.
    place(event, canvas) {
      const box = canvas.getBoundingClientRect();
      const inside = [event.clientX - box.left, event.clientY - box.top];
      const scale = this.zoomed();
      const sample = [
        this.centre[0] + (inside[0] - box.width / 2) / scale,
        this.centre[1] + (inside[1] - box.height / 2) / scale,
      ];
      return { inside, sample, box };
    }

    listen() {
      const { controls, panes } = this;
      controls.view.addEventListener("change", () => this.open(Number(controls.view.value), false));
      for (const key of ["layout", "left", "right", "component"]) {
        controls[key].addEventListener("change", () => {
          this.flipped = false;
          const before = panes.children.length;
          this.layout();
          if (panes.children.length !== before) this.fit();
        });
      }
      for (const key of ["divider", "amplify"]) controls[key].addEventListener("input", () => this.draw());
      for (const button of all("[data-zoom]", this.section)) {
        const act = { in: () => this.zoom(1, this.centre), out: () => this.zoom(-1, this.centre), fit: () => this.fit() };
        button.addEventListener("click", act[button.dataset.zoom]);
      }
      panes.addEventListener("pointerdown", (event) => this.press(event));
      panes.addEventListener("pointermove", (event) => this.point(event));
      panes.addEventListener("pointerleave", () => {
        this.pointer = null;
        this.draw();
      });
      panes.addEventListener("dblclick", (event) => {
        if (event.target.tagName === "CANVAS") this.zoom(1, this.place(event, event.target).sample);
      });
      panes.addEventListener(
        "wheel",
        (event) => {
          if (!(event.ctrlKey || event.metaKey) || event.target.tagName !== "CANVAS") return;
          event.preventDefault();
          this.zoom(event.deltaY < 0 ? 1 : -1, this.place(event, event.target).sample);
        },
        { passive: false },
      );
      panes.addEventListener("keydown", (event) => this.key(event));
      new ResizeObserver(() => this.draw()).observe(panes);
    }

    key(event) {
      const step = 24 / (this.sources ? this.zoomed() : 1);
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
      if (!this.sources || event.ctrlKey || event.metaKey || event.altKey) return;
      if (moves[event.key]) this.move(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(1, this.centre);
      else if (event.key === "-") this.zoom(-1, this.centre);
      else if (event.key === "0") this.fit();
      else if (event.key === "f" || event.key === "F") {
        this.flipped = !this.flipped;
        this.layout();
      } else return;
      event.preventDefault();
    }

    press(event) {
      if (!this.sources || event.target.tagName !== "CANVAS" || event.button !== 0) return;
      const { inside, box } = this.place(event, event.target);
      const from = box.width / 2 - this.centre[0] * this.zoomed();
      const edge = this.edge(from, this.frame.width * this.zoomed(), box.width);
      const divider = this.controls.layout.value === "wipe" && Math.abs(inside[0] - edge) <= GRAB;
      this.held = { divider, x: event.clientX, y: event.clientY };
      event.target.setPointerCapture(event.pointerId);
      const release = () => (this.held = null);
      event.target.addEventListener("pointerup", release, { once: true });
      event.target.addEventListener("pointercancel", release, { once: true });
    }

    point(event) {
      if (!this.sources || event.target.tagName !== "CANVAS") return;
      const { inside, sample, box } = this.place(event, event.target);
      if (this.held && this.held.divider) {
        const scale = this.zoomed();
        const start = box.width / 2 - this.centre[0] * scale;
        const [from, to] = [Math.max(0, start), Math.min(box.width, start + this.frame.width * scale)];
        this.controls.divider.value = clamp(Math.round(((inside[0] - from) / (to - from)) * 1000), 0, 1000);
      } else if (this.held) {
        const scale = this.zoomed();
        this.move((this.held.x - event.clientX) / scale, (this.held.y - event.clientY) / scale);
        [this.held.x, this.held.y] = [event.clientX, event.clientY];
      }
      const [x, y] = sample.map(Math.floor);
      this.pointer = x >= 0 && y >= 0 && x < this.frame.width && y < this.frame.height ? [x, y] : null;
      this.draw();
    }
  }

  for (const section of all(".viewer")) viewers.set(Number(section.dataset.chapter), new Viewer(section));
  for (const section of all(".over-pictures")) bringPlotsToLife(section);
  const tabs = one(".tabs");
  if (tabs) bringTabsToLife(tabs);
  else for (const viewer of viewers.values()) viewer.start();
})();
