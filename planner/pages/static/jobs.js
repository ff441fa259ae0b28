// Jobs of the daemon, as its JSON tells them: what runs is followed event by event, and can be told to pause or end.
"use strict";
(() => {
  const panel = document.getElementById("jobs");
  if (!panel) return;
  const OPEN = ["running", "paused", "waiting"];
  const SIGN = { running: "▸ running", paused: "Ⅱ paused", waiting: "◔ waiting", done: "✓ done", stopped: "■ stopped", cancelled: "✕ cancelled", failed: "✕ failed" };
  const TONE = { running: "good", done: "good", paused: "warn", waiting: "", stopped: "", cancelled: "bad", failed: "bad" };
  const ASK = { running: ["pause", "stop", "cancel"], paused: ["resume", "stop", "cancel"], waiting: ["cancel"] };
  const cards = new Map();
  const only = panel.dataset.job; // the page of one job shows all that happened in it, also where it is over

  const node = (tag, text = "", name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });
  const said = (turned) => Object.entries(turned || {}).sort().map(([knob, choice]) => `${knob}=${choice}`).join(" ") || "unmodified";
  const seconds = (s) => (s >= 60 ? `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s` : `${Math.floor(s)} s`);
  const ms = (value) => (value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value.toPrecision(3)} ms`);
  const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

  class Card {
    constructor(job) {
      this.element = node("article", "", "job");
      const head = node("header");
      this.name = only ? node("span") : Object.assign(node("a"), { href: `/jobs/${job.id}` });
      this.state = node("span", "", "tag");
      const title = node("h3");
      title.append(this.name);
      head.append(...(only ? [] : [title]), this.state);
      this.bar = document.createElement("progress");
      this.bar.setAttribute("aria-label", job.order?.kind === "spot" ? "Part of the images that are made" : "Part of the budget that is spent");
      this.figures = node("p", "", "note");
      this.doing = node("p", "", "note recipe");
      this.buttons = node("p", "", "buttons");
      const more = Object.assign(node("details"), { open: Boolean(only) });
      more.append(node("summary", "Log"), (this.log = node("div", "", "log")));
      this.log.tabIndex = 0;
      this.log.setAttribute("role", "log");
      this.next = node("p", "", "buttons");
      this.problem = node("p", "", "note");
      this.problem.setAttribute("role", "alert");
      this.element.append(head, this.bar, this.figures, this.doing, this.buttons, this.next, more, this.problem);
      this.best = this.baseline = null;
      this.told = 0;
      this.update(job);
    }

    update(job) {
      this.job = { ...this.job, ...job };
      const { state, order, trials, spent_s, budget_s, detail, wanted } = this.job;
      this.name.textContent = order?.model || order?.kind || "job";
      this.state.textContent = wanted ? `… to ${wanted}` : SIGN[state];
      this.state.className = `tag ${TONE[state]}`;
      this.element.dataset.state = state;
      this.bar.max = budget_s || 1;
      this.bar.value = Math.min(spent_s || 0, budget_s || 0);
      this.bar.hidden = !budget_s && this.share === undefined;
      if (this.share !== undefined) Object.assign(this.bar, { max: 1, value: this.share });
      const best = this.best && `best ${ms(this.best)}` + (this.baseline ? `, baseline ${ms(this.baseline)}` : "");
      const time = budget_s ? `${seconds(spent_s)} of ${seconds(budget_s)}` : seconds(spent_s || 0);
      this.figures.textContent = [`${trials} ${order?.kind === "spot" ? "images" : "trials"}`, time, best, detail].filter(Boolean).join(" · ");
      this.show(ASK[state] || []);
      if (this.job.blind && !this.next.firstChild) this.next.append(Object.assign(node("a", "Judge the pairs", "button main"), { href: `/blind/${this.job.blind}` }));
      if ((state === "running" || only) && this.source === undefined) this.follow();
    }

    show(wanted) {
      if (this.buttons.dataset.wanted === wanted.join()) return;
      this.buttons.dataset.wanted = wanted.join();
      this.buttons.replaceChildren(...wanted.map((command) => this.button(command)));
    }

    button(command) {
      const button = node("button", command[0].toUpperCase() + command.slice(1), command === "cancel" ? "danger" : "");
      button.type = "button";
      button.addEventListener("click", async () => {
        try {
          this.update(await window.autotuneTell(`/v1/jobs/${this.job.id}/${command}`));
          this.problem.textContent = "";
        } catch (problem) {
          this.problem.textContent = problem.message;
        }
      });
      return button;
    }

    follow() {
      this.source = new EventSource(`/v1/jobs/${this.job.id}/events`);
      for (const kind of ["state", "prepared", "trial_start", "trial_end", "race", "done", "refused", "busy", "fetch", "unpack", "row", "image"]) {
        this.source.addEventListener(kind, (event) => this.hear(JSON.parse(event.data)));
      }
      this.source.addEventListener("error", () => {
        if (this.source.readyState !== EventSource.CLOSED) return; // it connects anew by itself
        this.source = OPEN.includes(this.job.state) ? undefined : null;
      });
    }

    hear(event) {
      if (event.number <= this.told) return; // told again after a new connection
      this.told = event.number;
      const change = { spent_s: event.spent_s };
      if (event.event === "state") Object.assign(change, { state: event.state, wanted: event.wanted, detail: event.detail });
      if (event.event === "prepared") Object.assign(change, { budget_s: event.budget_s, trials: event.trials });
      if (event.event === "image") {
        change.trials = event.made;
        this.share = event.made / event.of;
      }
      if (event.event === "trial_start") this.doing.textContent = said(event.recipe);
      if (event.event === "trial_end") this.count(event.trial, change);
      if (event.event === "race") this.doing.textContent = "last round, call by call against the baseline";
      this.write(event);
      this.update(change);
    }

    count(trial, change) {
      change.trials = Math.max(this.job.trials, trial.number + 1);
      if (trial.outcome !== "ok" || !trial.latency) return;
      const value = median(trial.latency.samples_ms);
      if (said(trial.recipe.turned) === "unmodified") this.baseline = value;
      this.best = Math.min(this.best ?? Infinity, value);
    }

    write(event) {
      const share = event.total_bytes ? Math.floor((100 * event.done_bytes) / event.total_bytes) : 0;
      if (["fetch", "unpack"].includes(event.event)) this.doing.textContent = `${event.event === "fetch" ? "fetching" : "unpacking"} ${event.model}: ${share} %`;
      const lines = {
        state: () => `${event.state}${event.detail ? `: ${event.detail}` : ""}`,
        trial_end: () => `${event.trial.number} ${event.trial.outcome} ${event.trial.latency ? ms(median(event.trial.latency.samples_ms)) : ""} ${said(event.trial.recipe.turned)}`,
        race: () => "last round",
        done: () => `ended: ${event.reason}`,
        refused: () => `refused: ${event.message}`,
        busy: () => event.message,
      };
      if (!lines[event.event]) return;
      const low = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 24;
      this.log.append(node("div", lines[event.event]()));
      if (low) this.log.scrollTop = this.log.scrollHeight;
    }
  }

  const look = async () => {
    const answer = await fetch(only ? `/v1/jobs/${only}` : "/v1/jobs", { headers: { Accept: "application/json" } }).catch(() => null);
    if (!answer?.ok) return;
    const said = await answer.json();
    const shown = only ? [said] : said.jobs.filter((job) => OPEN.includes(job.state) || cards.has(job.id));
    for (const job of shown) {
      if (cards.has(job.id)) cards.get(job.id).update(job);
      else {
        const card = new Card(job);
        cards.set(job.id, card);
        panel.querySelector(".list").append(card.element);
      }
    }
    panel.hidden = cards.size === 0;
  };
  look();
  setInterval(look, 2000);
})();
