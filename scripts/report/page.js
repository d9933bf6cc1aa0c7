"use strict";
// The page of a case: its slices can be turned and its curves read off. No library and no request: data are in #data.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);

  // ---- slices -------------------------------------------------------------------------------------------------------
  async function viewer(content) {
    const { rows, columns, numbers, total } = content;
    const count = numbers.length;
    const section = get("viewer"), canvas = get("slice"), slider = get("number"), fill = get("opacity");
    const radios = [...document.querySelectorAll("input[name=image]")];
    const boxes = [...document.querySelectorAll("input[name=mask]")];
    const images = await Promise.all(content.images.map(async (image) => ({
      ...image, levels: await levelsOf(image.png, columns, rows * count), table: bytesOf(image.colors),
    })));
    const bits = await levelsOf(content.masks.png, columns, rows * count);
    const state = { slice: content.first, image: 0, pointer: null };
    const small = canvasOf(columns, rows);

    const maskBit = (name) => 1 << content.masks.names.indexOf(name);
    const maskColor = (name) => content.masks.colors[content.masks.names.indexOf(name)];
    const chosenMasks = () => boxes.filter((box) => box.checked).map((box) => box.value);

    function paint(image, slice) {
      const context = small.getContext("2d");
      const picture = context.createImageData(columns, rows);
      for (let i = 0, from = slice * rows * columns; i < rows * columns; i++) {
        const level = image.levels[from + i];
        picture.data.set(image.table.subarray(3 * level, 3 * level + 3), 4 * i);
        picture.data[4 * i + 3] = level ? 255 : 0;
      }
      context.putImageData(picture, 0, 0);
      return small;
    }

    function paintFill(names, opacity) {
      const context = small.getContext("2d");
      const picture = context.createImageData(columns, rows);
      const from = state.slice * rows * columns;
      for (const name of [...names].reverse()) {  // the lesion on top
        const bit = maskBit(name), color = bytesOf(maskColor(name).slice(1));
        for (let i = 0; i < rows * columns; i++) {
          if (bits[from + i] & bit) picture.data.set([...color, 255 * opacity], 4 * i);
        }
      }
      context.putImageData(picture, 0, 0);
      return small;
    }

    function outline(context, name, scaleX, scaleY) {
      const bit = maskBit(name), from = state.slice * rows * columns;
      const inside = (row, column) =>
        row >= 0 && column >= 0 && row < rows && column < columns && (bits[from + row * columns + column] & bit) > 0;
      context.beginPath();
      for (let row = 0; row <= rows; row++) {
        for (let column = 0; column <= columns; column++) {
          if (inside(row, column) !== inside(row - 1, column)) {
            context.moveTo(column * scaleX, row * scaleY);
            context.lineTo((column + 1) * scaleX, row * scaleY);
          }
          if (inside(row, column) !== inside(row, column - 1)) {
            context.moveTo(column * scaleX, row * scaleY);
            context.lineTo(column * scaleX, (row + 1) * scaleY);
          }
        }
      }
      const width = Math.max(1.5, 1.75 * (window.devicePixelRatio || 1));
      for (const [color, wide] of [["rgba(0, 0, 0, .4)", 1.8], [maskColor(name), 1]]) {  // seen on every color
        context.strokeStyle = color;
        context.lineWidth = width * wide;
        context.stroke();
      }
    }

    function draw() {
      const image = images[state.image], context = canvas.getContext("2d");
      const scaleX = canvas.width / columns, scaleY = canvas.height / rows;
      context.fillStyle = "#000";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      context.drawImage(paint(image, state.slice), 0, 0, canvas.width, canvas.height);
      const names = chosenMasks();
      context.imageSmoothingEnabled = false;
      context.drawImage(paintFill(names, fill.value / 100), 0, 0, canvas.width, canvas.height);
      context.lineJoin = context.lineCap = "round";
      for (const name of [...names].reverse()) outline(context, name, scaleX, scaleY);
    }

    function show() {
      const image = images[state.image];
      const place = `slice ${numbers[state.slice]} of ${total}`;
      slider.value = state.slice + 1;
      slider.setAttribute("aria-valuetext", place);
      get("number-text").textContent = `${numbers[state.slice]} of ${total}`;
      get("opacity-text").textContent = `${fill.value} %`;
      get("place").textContent = `${image.title}, ${place}`;
      get("bar-low").textContent = image.limits[0];
      get("bar-high").textContent = image.limits[1];
      get("bar-unit").textContent = image.unit;
      radios[state.image].checked = true;
      const found = content.masks.names.filter((name) => section.querySelector(`input[value=${name}]`) && area(name));
      const titles = found.map((name) => section.querySelector(`input[value=${name}]`).parentElement.textContent.trim());
      const text = `${image.title}, ${place}. ${titles.length ? `Here: ${titles.join(", ")}` : "Nothing outlined here"}.`;
      canvas.setAttribute("aria-label", text);
      get("status").textContent = text;
      const bar = get("bar").getContext("2d");
      for (let level = 1; level < 256; level++) {
        bar.fillStyle = `rgb(${image.table.subarray(3 * level, 3 * level + 3).join(",")})`;
        bar.fillRect(0, 255 - level, 10, 1);
      }
      draw();
      read();
    }

    function area(name) {
      const bit = maskBit(name);
      for (let i = state.slice * rows * columns, end = i + rows * columns; i < end; i++) if (bits[i] & bit) return true;
      return false;
    }

    function thumbnails() {
      radios.forEach((radio, index) => {
        const thumbnail = radio.parentElement.querySelector("canvas"), context = thumbnail.getContext("2d");
        const size = thumbnail.width, scale = size / Math.max(columns, rows * content.aspect);
        const width = columns * scale, height = rows * content.aspect * scale;
        context.fillStyle = "#000";
        context.fillRect(0, 0, size, size);
        context.drawImage(paint(images[index], state.slice), (size - width) / 2, (size - height) / 2, width, height);
      });
    }

    function read() {
      let text = "";
      if (state.pointer) {
        const [row, column] = state.pointer, image = images[state.image];
        const level = image.levels[(state.slice * rows + row) * columns + column];
        const [low, high] = image.limits, value = low + ((level - 1) / 254) * (high - low);
        const sign = level === 255 ? "\u2265 " : level === 1 ? "\u2264 " : "";
        const digits = high > 20 ? 0 : high > 1 ? 1 : 2;
        text = level ? `${image.title} ${sign}${value.toFixed(digits)} ${image.unit}` : `${image.title}: no value`;
      }
      get("readout").textContent = text;
    }

    function fit() {
      const room = canvas.parentElement.clientWidth - 64;
      const most = Math.max(240, Math.min(window.innerHeight * 0.78, 760));
      const scale = Math.min(room / columns, most / (rows * content.aspect));
      const ratio = window.devicePixelRatio || 1;
      const width = Math.round(columns * scale), height = Math.round(rows * content.aspect * scale);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      show();
    }

    function go(slice) {
      const next = Math.min(Math.max(slice, 0), count - 1);
      if (next === state.slice) return false;
      state.slice = next;
      show();
      thumbnails();
      return true;
    }

    function choose(index) {
      if (index < 0 || index >= images.length) return;
      state.image = index;
      show();
    }

    function followFragment() {
      const wanted = new URLSearchParams(location.hash.slice(1));
      const index = images.findIndex((image) => image.name === wanted.get("layer"));
      if (index >= 0) state.image = index;
      const slice = numbers.indexOf(Number(wanted.get("slice")));
      if (slice >= 0) state.slice = slice;
      if (wanted.has("masks")) {
        const names = wanted.get("masks").split(",");
        boxes.forEach((box) => { box.checked = names.includes(box.value); });
      }
      if (wanted.has("opacity")) fill.value = Number(wanted.get("opacity")) || 0;
      show();
      thumbnails();
    }

    slider.addEventListener("input", () => go(slider.value - 1));
    fill.addEventListener("input", show);
    boxes.forEach((box) => box.addEventListener("change", show));
    radios.forEach((radio, index) => radio.addEventListener("change", () => choose(index)));
    let turned = 0;
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey || !event.deltaY) return;
      // At the last slice the page scrolls, but not with the turn that led there.
      if (go(state.slice + Math.sign(event.deltaY))) turned = event.timeStamp;
      if (event.timeStamp - turned < 500) event.preventDefault();
    }, { passive: false });
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
      const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
      state.pointer = row >= 0 && row < rows && column >= 0 && column < columns ? [row, column] : null;
      read();
    });
    canvas.addEventListener("pointerleave", () => { state.pointer = null; read(); });
    const steps = { ArrowUp: 1, ArrowRight: 1, PageUp: 5, ArrowDown: -1, ArrowLeft: -1, PageDown: -5, Home: -count, End: count };
    section.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const box = boxes.find((each) => each.value[0] === event.key.toLowerCase() || (each.value === "delay" && event.key.toLowerCase() === "t"));
      if (event.target === canvas && event.key in steps) go(state.slice + steps[event.key]);
      else if (/^[1-9]$/.test(event.key)) choose(Number(event.key) - 1);
      else if (box) { box.checked = !box.checked; show(); }
      else return;
      event.preventDefault();
    });
    window.addEventListener("resize", fit);
    window.addEventListener("hashchange", followFragment);
    section.hidden = false;
    document.documentElement.classList.add("ready");
    fit();
    followFragment();
    document.body.dataset.viewer = "ready";
  }

  function canvasOf(width, height) {
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  function bytesOf(hex) {
    return Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
  }

  async function levelsOf(png, width, height) {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, width, height).data;
    return Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i]);
  }

  function readable() {  // browsers that resist fingerprinting give back noise
    const context = canvasOf(1, 1).getContext("2d");
    context.fillStyle = "rgb(12, 34, 56)";
    context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data.join() === "12,34,56,255";
  }

  // ---- curves -------------------------------------------------------------------------------------------------------
  function curves(content) {
    const plot = get("plot"), cursor = get("cursor");
    const dots = [...plot.querySelectorAll(".dot")], outputs = [...document.querySelectorAll(".curve-value")];
    let index = -1;

    function show(next) {
      index = Math.min(Math.max(next, 0), content.times_s.length - 1);
      const x = content.x[index];
      cursor.setAttribute("x1", x);
      cursor.setAttribute("x2", x);
      cursor.setAttribute("visibility", "visible");
      content.curves.forEach((curve, number) => {
        dots[number].setAttribute("cx", x);
        dots[number].setAttribute("cy", curve.y[index]);
        dots[number].setAttribute("visibility", "visible");
        outputs[number].textContent = `${curve.values_hu[index].toFixed(1)} HU`;
      });
      const values = content.curves.map((curve) => `${curve.title} ${curve.values_hu[index].toFixed(1)} HU`);
      get("curve-time").textContent = `Frame ${index + 1}, ${content.times_s[index]} s: ${values.join("; ")}`;
    }

    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * plot.viewBox.baseVal.width;
      const distance = content.x.map((place) => Math.abs(place - x));
      show(distance.indexOf(Math.min(...distance)));
    });
    const last = content.times_s.length - 1;
    plot.addEventListener("keydown", (event) => {
      const next = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      show(next);
      event.preventDefault();
    });
  }

  if (data.curves) curves(data.curves);
  if (data.viewer && readable()) viewer(data.viewer);
  else document.body.dataset.viewer = "none";
})();
