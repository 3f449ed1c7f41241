"use strict";
(() => {
  const tip = document.getElementById("tip");
  const make = (name, parent, text, classes) => {
    const element = parent.appendChild(document.createElement(name));
    if (text !== undefined) element.textContent = text;
    if (classes) element.className = classes;
    return element;
  };
  for (const figure of document.querySelectorAll(".chart")) {
    const { series, stops } = JSON.parse(figure.querySelector("script").textContent);
    const area = figure.querySelector(".area");
    const hidden = new Set();
    const rule = make("div", area, undefined, "rule");
    rule.hidden = true;
    let at = -1;
    const leave = () => { rule.hidden = true; tip.hidden = true; at = -1; };
    const show = (index) => {
      at = Math.max(0, Math.min(stops.length - 1, index));
      const [x, label, all] = stops[at];
      const values = all.filter(([which]) => !hidden.has(which)).sort((a, b) => b[1] - a[1]);
      rule.hidden = false;
      rule.style.left = `${x * 100}%`;
      rule.replaceChildren();
      tip.replaceChildren();
      make("b", tip, label);
      const table = make("table", tip);
      for (const [which, height, text] of values) {
        const [name, classes] = series[which];
        make("i", rule, undefined, classes).style.bottom = `${height * 100}%`;
        const row = make("tr", table);
        const cell = make("td", row);
        make("i", cell, undefined, classes);
        cell.append(name);
        make("td", row, text);
      }
      tip.hidden = false;
      const box = area.getBoundingClientRect();
      const left = box.left + x * box.width;
      const beside = left + 16 + tip.offsetWidth > innerWidth ? left - 16 - tip.offsetWidth : left + 16;
      tip.style.left = `${Math.max(4, beside)}px`;
      tip.style.top = `${Math.max(4, Math.min(innerHeight - tip.offsetHeight - 4, box.top + 8))}px`;
    };
    if (stops.length > 0) {
      const point = (event) => {
        const box = area.getBoundingClientRect();
        const x = (event.clientX - box.left) / box.width;
        let nearest = 0;
        stops.forEach((stop, index) => {
          if (Math.abs(stop[0] - x) < Math.abs(stops[nearest][0] - x)) nearest = index;
        });
        show(nearest);
      };
      area.addEventListener("pointermove", point);
      area.addEventListener("pointerdown", point);
      addEventListener("scroll", leave, { passive: true });
      area.addEventListener("pointerleave", leave);
      area.addEventListener("blur", leave);
      area.addEventListener("keydown", (event) => {
        const to = { ArrowRight: at + 1, ArrowLeft: at < 0 ? stops.length - 1 : at - 1, Home: 0, End: stops.length - 1 }[event.key];
        if (event.key === "Escape") leave();
        if (to === undefined) return;
        event.preventDefault();
        show(to);
      });
    }
    figure.querySelector(".legend").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const which = Number(button.dataset.s);
      const off = !hidden.has(which);
      if (off) hidden.add(which); else hidden.delete(which);
      button.setAttribute("aria-pressed", String(!off));
      figure.querySelector(`g[data-s="${which}"]`).classList.toggle("off", off);
    });
  }
  // Paper has no clicks.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")].filter((details) => !details.closest("#runs"));
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((details) => { details.open = false; }));
})();
