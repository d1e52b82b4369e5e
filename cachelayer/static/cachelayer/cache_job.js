// Goes on with a job, slice by slice. The address always holds the state, so a page
// that is loaded again goes on where it was. A slice that failed is sent again.
(() => {
  "use strict";
  const form = document.querySelector("[data-job-form]");
  const result = document.querySelector("[data-job]");
  const said = document.querySelector("[data-job-said]");
  const help = document.querySelector("[data-job-help]");
  const state = form.elements.state;
  const longest = 10000;
  let pause = 500;
  let stopped = form.hidden;

  form.querySelector("[data-continue]").hidden = true;
  form.addEventListener("submit", () => {
    stopped = true;
  });

  const take = (job) => {
    state.value = job.state;
    history.replaceState(null, "", `?state=${encodeURIComponent(job.state)}`);
    result.innerHTML = job.html;
    said.textContent = "";
    pause = 500;
    if (job.finished) {
      stopped = true;
      form.hidden = help.hidden = true;
    }
  };

  const retry = (sentence) => {
    said.textContent = `${sentence} Trying again in ${Math.round(pause / 1000) || 1} s.`;
    setTimeout(step, pause);
    pause = Math.min(2 * pause, longest);
  };

  const give_up = (sentence) => {
    stopped = true;
    said.textContent = sentence;
  };

  const step = async () => {
    if (stopped) return;
    let answer;
    try {
      answer = await fetch(form.action || location.href, {
        method: "POST",
        body: new FormData(form),
        headers: { Accept: "application/json" },
        redirect: "manual",
      });
    } catch {
      return retry("The server does not answer.");
    }
    if (stopped) return;
    if (answer.type === "opaqueredirect" || answer.status === 403) {
      return give_up("You are not logged in any more. Load the page again.");
    }
    const body = await answer.json().catch(() => ({}));
    if (answer.ok) {
      take(body);
      return step();
    }
    if (answer.status >= 500) return retry(body.error || `The server answers ${answer.status}.`);
    give_up(body.error || `The server answers ${answer.status}.`);
  };

  step();
})();
