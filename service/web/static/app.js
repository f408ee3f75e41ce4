/* Staff pages only, and none needs it: the composer's count and checks follow the typing; Ctrl/Cmd+Enter mails the test. */
(() => {
  "use strict";
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
        if (!answer.ok || answer.redirected) return;
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
  form.addEventListener("input", (event) => {
    const name = event.target.name || "";
    if (name === "topic" || name.startsWith("attribute:")) count();
    checks();
  });
})();
