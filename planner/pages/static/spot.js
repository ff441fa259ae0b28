// Asks for a set of blind pairs: a job makes it, and its page is where to wait.
"use strict";
(() => {
  const form = document.getElementById("ask");
  if (!form) return;
  const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = Object.fromEntries(new FormData(form));
    const order = { kind: "spot", model: said.model.trim(), pairs: Number(said.pairs), prompts: lines(said.prompts) };
    const turns = (said.turns || "").split(/\s+/).filter(Boolean);
    Object.assign(order, turns.length ? { turns } : said.plan ? { plan: said.plan } : {});
    const problem = form.querySelector(".problem");
    try {
      problem.textContent = "";
      const job = await window.autotuneTell("/v1/jobs", order);
      location.assign(`/jobs/${job.id}`);
    } catch (error) {
      problem.textContent = error.message;
    }
  });
})();
