"use strict";
(function () {
  const page = JSON.parse(document.getElementById("figures").textContent);
  const touch = Boolean(window.matchMedia) && window.matchMedia("(hover: none)").matches;
  const options = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function draw(node) {
    const figure = page.figures[node.dataset.figure];
    if (!figure || node.dataset.drawn) { return; }
    node.dataset.drawn = "yes";
    for (const trace of figure.data) {
      if (trace.customdata) { trace.hovertext = trace.customdata.map((id) => page.hover[id] || "candidate " + id); }
    }
    if (touch) { figure.layout.dragmode = false; }  // a finger scrolls the page
    Plotly.newPlot(node, figure.data, figure.layout, options);
  }

  function all() { document.querySelectorAll("[data-figure]").forEach(draw); }

  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) { if (entry.isIntersecting) { draw(entry.target); watcher.unobserve(entry.target); } }
    }, { rootMargin: "600px" });
    document.querySelectorAll("[data-figure]").forEach((node) => watcher.observe(node));
  } else { all(); }

  // A sphere of triangles: an octahedron whose faces are divided, every corner pushed out to the radius.
  function sphere(divisions) {
    let faces = [];
    const wound = (a, b, c) => (a[0] * b[1] * c[2] < 0 ? [a, b, c] : [a, c, b]);
    for (const x of [1, -1]) { for (const y of [1, -1]) { for (const z of [1, -1]) { faces.push(wound([x, 0, 0], [0, y, 0], [0, 0, z])); } } }
    const middle = (a, b) => {
      const sum = a.map((value, axis) => value + b[axis]);
      const length = Math.hypot(...sum);
      return sum.map((value) => value / length);
    };
    for (let step = 0; step < divisions; step += 1) {
      faces = faces.flatMap(([a, b, c]) => {
        const [ab, bc, ca] = [middle(a, b), middle(b, c), middle(c, a)];
        return [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]];
      });
    }
    const index = new Map();
    const corners = [];
    const number = (corner) => {
      const key = corner.map((value) => value.toFixed(6)).join(" ");
      if (!index.has(key)) { index.set(key, corners.length); corners.push(corner); }
      return index.get(key);
    };
    return { triangles: faces.map((face) => face.map(number)), corners };
  }

  function balls(trace, unit) {
    const mesh = { type: "mesh3d", name: trace.name, hoverinfo: "name", color: trace.marker.color, opacity: trace.marker.opacity, flatshading: false,
      x: [], y: [], z: [], i: [], j: [], k: [],
      lighting: { ambient: 0.48, diffuse: 0.6, specular: 0.12, roughness: 0.5, fresnel: 0.05 }, lightposition: { x: -1e4, y: 1.6e4, z: -1.2e4 } };  // as seen by the eye; z points away from it
    trace.x.forEach((x, atom) => {
      const first = mesh.x.length;
      for (const corner of unit.corners) {
        mesh.x.push(x + trace.meta.radius * corner[0]);
        mesh.y.push(trace.y[atom] + trace.meta.radius * corner[1]);
        mesh.z.push(trace.z[atom] + trace.meta.radius * corner[2]);
      }
      for (const [a, b, c] of unit.triangles) { mesh.i.push(first + a); mesh.j.push(first + b); mesh.k.push(first + c); }
    });
    return mesh;
  }

  function solid(traces) {
    const atoms = traces.reduce((sum, trace) => sum + (trace.meta ? trace.x.length : 0), 0);
    const unit = sphere(atoms > 300 ? 1 : 2);
    return traces.map((trace) => (trace.meta ? balls(trace, unit) : trace));
  }

  function webgl() {
    try {
      const canvas = document.createElement("canvas");
      return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
    } catch (error) { return false; }
  }

  if (webgl()) {
    document.querySelectorAll("[data-turn]").forEach((button) => {
      const picture = document.querySelector('[data-picture="' + button.dataset.turn + '"]');
      button.hidden = false;
      button.addEventListener("click", () => {
        const open = picture.querySelector(".turning");
        if (open) {
          Plotly.purge(open);
          open.remove();
          picture.classList.remove("open");
          button.textContent = "Turn in 3D";
          return;
        }
        const figure = page.figures[button.dataset.turn];
        const node = document.createElement("div");
        node.className = "turning";
        picture.appendChild(node);
        picture.classList.add("open");
        button.textContent = "Back";
        Plotly.newPlot(node, solid(figure.data), figure.layout, { responsive: true, displayModeBar: false });
      });
    });
  }

  const PAPER = 690;  // pixels between the margins
  const wide = () => [...document.querySelectorAll("[data-drawn]")].filter((node) => node.clientWidth > PAPER);
  let shrunk = [];
  window.addEventListener("beforeprint", () => {
    all();
    shrunk = wide();
    shrunk.forEach((node) => Plotly.relayout(node, { width: PAPER }));
    document.querySelectorAll("details:not(.long)").forEach((node) => { node.open = true; });
  });
  window.addEventListener("afterprint", () => {
    shrunk.forEach((node) => Plotly.relayout(node, { width: null, autosize: true }));
  });
})();
