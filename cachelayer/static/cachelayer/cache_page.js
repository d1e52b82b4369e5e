// Brings the regions of the cache page up to date. They hold nothing that takes the
// focus, and one in which somebody is selecting text is left for the next time.
(() => {
  "use strict";
  const page = document.querySelector(".cache-page[data-stats]");
  const live = page.querySelector("[data-live]");
  const said = page.querySelector("[data-live-error]");
  // Read aloud when the verdict turns, not whenever a number in it changes.
  const aloud = page.querySelector("[data-said]");
  const verdicts = { ok: "In order.", warning: "Look at this.", error: "Trouble." };
  let level = page.querySelector(".cache-verdict").classList[1];
  const interval = Number(page.dataset.interval);
  let timer = null;

  const isInUse = (region) => {
    const selection = getSelection();
    return !selection.isCollapsed && selection.containsNode(region, true);
  };

  const say = (sentence) => {
    if (said.textContent !== sentence) said.textContent = sentence;
  };

  const show = (facts) => {
    if (facts.level !== level) {
      level = facts.level;
      aloud.textContent = [verdicts[level], ...facts.troubles.map((t) => t.sentence)].join(" ");
    }
    for (const region of page.querySelectorAll("[data-region]")) {
      const html = facts.html[region.dataset.region];
      if (region.shown !== html && !isInUse(region)) {
        region.innerHTML = html;
        region.shown = html;
      }
    }
  };

  const look = async () => {
    try {
      const answer = await fetch(page.dataset.stats, {
        headers: { Accept: "application/json" },
        redirect: "manual",
      });
      if (answer.ok) {
        show(await answer.json());
        say("");
      } else if (answer.type === "opaqueredirect" || answer.status === 403) {
        live.checked = false;
        say("You are not logged in any more. Load the page again.");
      } else {
        const body = await answer.json().catch(() => ({}));
        say(body.error || `The server answers ${answer.status}. What you see is old.`);
      }
    } catch {
      say("The server does not answer. What you see is old.");
    }
    next();
  };

  const next = () => {
    clearTimeout(timer);
    if (live.checked && !document.hidden) timer = setTimeout(look, interval);
  };

  live.addEventListener("change", next);
  document.addEventListener("visibilitychange", next);
  next();
})();
