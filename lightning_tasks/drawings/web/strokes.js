"use strict";

// Drawings on a canvas. A stroke is {points: [[x, y], ...], by: "model" or "ink"}, x to the right and y downwards;
// `by` is the name of its colour in page.css.

const SIDE = 255; // units: a drawing is about as wide
const MARGIN = 0.08; // left free at each side, as a share of a side

function countPoints(strokes) {
  return strokes.reduce((sum, stroke) => sum + stroke.points.length, 0);
}

// The box that strokes lie in with a margin, `least` units wide and high or more.
function boxAround(strokes, least) {
  if (!strokes.length) return { left: 0, top: 0, right: SIDE, bottom: SIDE };
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { points } of strokes) {
    for (const [x, y] of points) {
      left = Math.min(left, x); right = Math.max(right, x);
      top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
  }
  const margin = MARGIN * Math.max(right - left, bottom - top, least);
  const wide = Math.max((least - (right - left)) / 2, 0) + margin;
  const high = Math.max((least - (bottom - top)) / 2, 0) + margin;
  return { left: left - wide, top: top - high, right: right + wide, bottom: bottom + high };
}

class Sheet {
  // A canvas that keeps all of its strokes in view. `least`: see boxAround.
  constructor(canvas, least = 1) {
    this.canvas = canvas;
    this.least = least;
    this.strokes = [];
    this.limit = Infinity;
    this.view = boxAround([], least);
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  // Show strokes at once, the first `limit` points of them.
  show(strokes, limit = Infinity) {
    this.strokes = strokes;
    this.view = boxAround(strokes, this.least);
    this.paint(limit);
  }

  // Move the view a share of the way to where it should be, but never so that a point is left out; true once it is there.
  glide(share) {
    const aim = boxAround(this.strokes, this.least);
    const tight = boxAround(this.strokes, 0);
    let far = 0;
    for (const side of ["left", "top", "right", "bottom"]) {
      const outer = side === "left" || side === "top" ? Math.min : Math.max;
      this.view[side] += share * (aim[side] - this.view[side]);
      if (this.strokes.length) this.view[side] = outer(this.view[side], tight[side]);
      far = Math.max(far, Math.abs(aim[side] - this.view[side]));
    }
    return far < 0.5;
  }

  // Pixels of a unit, and where the unit's origin lies, in CSS pixels.
  scale() {
    const { left, top, right, bottom } = this.view;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = Math.min(width / (right - left), height / (bottom - top));
    return { scale, x: (width - scale * (left + right)) / 2, y: (height - scale * (top + bottom)) / 2 };
  }

  // The place in units of a place in CSS pixels from the canvas' corner.
  place(x, y) {
    const { scale, x: originX, y: originY } = this.scale();
    return [(x - originX) / scale, (y - originY) / scale].map((value) => Math.round(10 * value) / 10);
  }

  // Draw the first `limit` points; one that no line leads to is a dot.
  paint(limit = this.limit) {
    this.limit = limit;
    const { canvas } = this;
    const density = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth * density, canvas.clientHeight * density].map(Math.round);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const colours = getComputedStyle(canvas);
    const { scale, x, y } = this.scale();
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
    context.lineWidth = Math.max(1.5, Math.min(canvas.clientWidth, canvas.clientHeight) / 140);
    context.lineCap = context.lineJoin = "round";
    for (const { points, by } of this.strokes) {
      if (limit < 1) break;
      context.strokeStyle = colours.getPropertyValue(`--${by}`);
      context.beginPath();
      context.moveTo(x + scale * points[0][0], y + scale * points[0][1]);
      for (const point of points.slice(0, limit)) context.lineTo(x + scale * point[0], y + scale * point[1]);
      context.stroke();
      limit -= points.length;
    }
  }
}
