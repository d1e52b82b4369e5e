// As the system has it, or dark, or light; remembered by this browser.

import { byId } from "./dom.js";

const ORDER = ["auto", "dark", "light"];
const LABELS = {
  auto: ["◐ Auto", "Theme: as the system has it"],
  dark: ["● Dark", "Theme: dark"],
  light: ["○ Light", "Theme: light"],
};

export function start() {
  use(localStorage.getItem("theme") ?? "auto");
  byId("theme").addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    use(ORDER[(ORDER.indexOf(now) + 1) % ORDER.length]);
  });
}

function use(name) {
  const theme = LABELS[name] ? name : "auto";
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem("theme", theme);
  const [text, label] = LABELS[theme];
  byId("theme").textContent = text;
  byId("theme").setAttribute("aria-label", label);
  document.dispatchEvent(new Event("themechange"));
}
