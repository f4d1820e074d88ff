// SPDX-License-Identifier: GPL-2.0-only
// Parts of a page that the server keeps up to date: it sends them ready made, see dashboard/live.py.
// What depends on them is told by events on the body: `state-changed`, `findings-changed`, and `progress` at each.

const AGAIN_MS = 30_000;

function show(place, html) {
  const before = { ...place.firstElementChild?.dataset };
  place.innerHTML = html;
  const now = place.firstElementChild.dataset;
  document.body.dispatchEvent(new Event("progress"));
  for (const [name, event] of [["state", "state-changed"], ["findings", "findings-changed"]]) {
    if (before[name] !== now[name]) document.body.dispatchEvent(new Event(event));
  }
}

function watch(place) {
  let source = null;
  const close = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    // A page that nobody sees keeps no connection: a browser has six of them for all its pages.
    if (source !== null || document.hidden || !place.dataset.events) return;
    source = new EventSource(place.dataset.events);
    source.addEventListener("progress", (event) => show(place, event.data));
    source.addEventListener("end", () => {
      delete place.dataset.events;
      close();
    });
    source.addEventListener("error", () => {
      // Otherwise the browser tries again by itself.
      if (source.readyState !== EventSource.CLOSED) return;
      close();
      setTimeout(open, AGAIN_MS);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  // A page that is left stays open in the browser's memory; its stream must not.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  open();
}

for (const place of document.querySelectorAll("[data-events]")) watch(place);
