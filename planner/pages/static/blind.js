// Blind pairs: both images are there before either is seen, and an answer is a token that says nothing.
"use strict";
(() => {
  const stage = () => document.getElementById("stage");
  let busy = false;

  const reveal = async () => {
    const choices = stage()?.querySelector(".choices");
    if (!choices) return;
    await Promise.all([...choices.querySelectorAll("img")].map((image) => image.decode().catch(() => {})));
    choices.hidden = false;
    stage().querySelector(".waiting").hidden = true;
    choices.querySelectorAll("img").forEach((image) => image.classList.toggle("tiny", image.naturalWidth < 300));
  };

  const answer = async (token) => {
    const { set, screen } = stage().dataset;
    if (busy || !set) return;
    busy = true;
    try {
      await window.autotuneTell(`/v1/blind/${set}/answers`, { screen: Number(screen), picked: token });
      const next = await (await fetch(`/blind/${set}`, { headers: { Accept: "text/html" } })).text();
      const main = new DOMParser().parseFromString(next, "text/html").getElementById("content");
      document.getElementById("content").replaceWith(main);
      scrollTo(0, 0);
      await reveal();
    } catch (problem) {
      stage().querySelector(".problem").textContent = problem.message;
    } finally {
      busy = false;
    }
  };

  document.addEventListener("click", (event) => {
    const token = event.target.closest?.("button[data-token]")?.dataset.token;
    if (token) answer(token);
  });
  document.addEventListener("keydown", (event) => {
    const place = { 1: 0, ArrowLeft: 0, f: 0, 2: 1, ArrowRight: 1, j: 1 }[event.key];
    const choices = stage()?.querySelector(".choices");
    if (place === undefined || !choices || choices.hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    answer(choices.querySelectorAll("button")[place].dataset.token);
  });
  reveal();
})();
