/* Staff pages only, and none needs it: a person's date and slider move together; the composer's count, checks and preview follow the typing, Ctrl/Cmd+Enter mails
   the test; the report of what is being sent follows by itself. */
(() => {
  "use strict";

  /* The report: asks again while something is still to come, never under the hands of who is using it. */
  const watch = () => document.querySelector("[data-live]") && setTimeout(async () => {
    const main = document.getElementById("main");
    if (!document.hidden && !main.contains(document.activeElement) && !main.querySelector("details[open]")) {
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (answer.ok && !answer.redirected) {
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
          for (const place of ["#main", ".wire"]) document.querySelector(place).replaceWith(fresh.querySelector(place));
          document.title = fresh.title;
        }
      } catch (fault) { console.warn(fault); /* what is shown stays */ }
    }
    watch();
  }, 2000);
  watch();

  /* A person's page: what counts is the date, which follows the slider, and the slider it. */
  const slider = document.getElementById("days");
  if (slider) {
    const on = document.getElementById("on");
    const first = Date.parse(slider.dataset.first);
    const say = (day) => slider.setAttribute("aria-valuetext", new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeZone: "UTC" }).format(day));
    slider.addEventListener("input", () => {
      const day = new Date(first + slider.valueAsNumber * 864e5);
      on.value = day.toISOString().slice(0, 10);
      say(day);
    });
    on.addEventListener("input", () => {
      if (Number.isNaN(on.valueAsNumber)) return;
      slider.valueAsNumber = (on.valueAsNumber - first) / 864e5;
      say(on.valueAsNumber);
    });
  }

  const form = document.getElementById("compose");
  if (!form) return;

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const button = document.querySelector("[data-key=test]");
    if (button) { event.preventDefault(); form.requestSubmit(button); }
  });

  /* One fragment: asks again 300 ms after the last change; an answer that came too late is thrown away. */
  const follow = (url, target) => {
    if (!url || !target) return () => {};
    let timer = 0;
    let asked = null;
    const ask = async () => {
      asked?.abort();
      asked = new AbortController();
      try {
        const body = new URLSearchParams(new FormData(form));
        const answer = await fetch(url, { method: "POST", body, signal: asked.signal, headers: { Accept: "text/html" } });
        if (!answer.ok || answer.status === 204 || answer.redirected) return;
        const open = target.querySelector("details")?.open;
        target.innerHTML = await answer.text();
        const details = target.querySelector("details");
        if (details && open !== undefined) details.open = open;
      } catch (fault) {
        if (fault.name !== "AbortError") console.warn(fault); /* what is shown stays */
      }
    };
    return () => { clearTimeout(timer); timer = setTimeout(ask, 300); };
  };

  const count = follow(form.dataset.count, document.getElementById("count"));
  const checks = follow(form.dataset.checks, document.getElementById("checked"));

  /* The mail in its frame: a fresh frame takes the answer and then the old one's place, so that nothing flickers and
     the way back stays short. Only as a sample person: looking at a real one is written down, once, when chosen. */
  const head = follow(form.dataset.preview && `${form.dataset.preview}?part=head`, document.getElementById("preview-head"));
  let shown = document.querySelector(".frame iframe");
  let timer = 0;
  let number = 0;
  const draw = () => {
    const next = shown.cloneNode();
    next.removeAttribute("src");
    next.name = `preview-${++number}`;
    next.hidden = true;
    const post = document.createElement("form");
    Object.assign(post, { method: "post", action: form.dataset.preview, target: next.name, hidden: true });
    for (const [name, value] of new FormData(form)) {
      const kept = document.createElement("textarea");
      Object.assign(kept, { name, value });
      post.append(kept);
    }
    shown.after(next);
    document.body.append(post);
    next.addEventListener("load", () => {
      if (next.name !== `preview-${number}`) { next.remove(); return; }
      shown.remove();
      shown = next;
      next.hidden = false;
    });
    post.submit();
    post.remove();
  };
  const preview = () => {
    if (!form.dataset.preview || form.elements.as.value) return;
    head();
    if (!shown) return;
    clearTimeout(timer);
    timer = setTimeout(draw, 300);
  };
  form.addEventListener("input", (event) => {
    const name = event.target.name || "";
    if (name === "topic" || name.startsWith("attribute:")) count();
    checks();
    preview();
  });
})();
