// What the pages need beyond HTML: the token of this user, words for the mark that is pointed at, and copying.
"use strict";
(() => {
  const KEY = "autotune-token";
  const token = () => sessionStorage.getItem(KEY) || "";

  // asks the daemon for a change, and gives what it answers; an error says in its sentence why there is none
  window.autotuneTell = async (path, content = {}) => {
    await window.autotuneReady;
    const headers = { Authorization: `Bearer ${token()}`, "Content-Type": "application/json" };
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(content) });
    if (answer.status === 401) throw new Error("To change something, open these pages by `autotune dashboard`: that says who you are.");
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.message);
    return said;
  };

  // the address that `autotune` opens ends with a code that is good for once: it is exchanged for the token here
  const opened = /^#code=([A-Za-z0-9_-]{22})$/.exec(location.hash);
  window.autotuneReady = opened
    ? fetch(`/v1/doors/${opened[1]}`)
        .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error("This address was used before."))))
        .then((door) => sessionStorage.setItem(KEY, door.token))
        .catch(() => {})
        .finally(() => history.replaceState(null, "", location.pathname + location.search))
    : Promise.resolve();
  window.autotuneReady.then(() => document.documentElement.classList.toggle("trusted", Boolean(token())));

  document.addEventListener("htmx:configRequest", (event) => {
    if (token()) event.detail.headers.Authorization = `Bearer ${token()}`;
  });

  const say = (event) => {
    const mark = event.target.closest?.("a[data-says]");
    const line = mark?.closest(".picture")?.querySelector(".says");
    if (line) line.textContent = mark.dataset.says;
  };
  document.addEventListener("pointerover", say);
  document.addEventListener("focusin", say);

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("pre").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("pre"));
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
})();
