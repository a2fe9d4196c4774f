"use strict";
// Every text out of a run reaches the page through textContent; nothing here writes markup.
(() => {
  const PAGE = 25, RESPONSES = 20;
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("index").textContent);
  
  function make(tag, settings, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(settings || {})) {
      if (name === "text") element.textContent = value;
      else if (name === "click") element.addEventListener("click", value);
      else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }
  const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

  // Rows of one run as objects, made once per run.
  const kindOf = (right, all) => (right === 0 ? "never" : right === all ? "always" : "sometimes");
  const runs = data.runs.map((run) => {
    const rows = run.rows.map(([problem, correct, incorrect, undecided, chunk]) => {
      const all = correct + incorrect + undecided;
      const share = all ? correct / all : 0;
      return { problem, correct, incorrect, undecided, all, chunk, share, kind: kindOf(correct, all) };
    });
    return { ...run, rows, at: new Map(rows.map((row) => [row.problem, row])) };
  });
  const haystack = data.problems.map((p) =>
    [p.shown_key, p.question, p.answer, ...p.tags].join("\n").toLowerCase());

  const state = { run: 0, kind: "all", tag: "", sort: "low", search: "", found: null, limit: PAGE, open: null };
  const orders = {
    low: (a, b) => a.share - b.share || a.problem - b.problem,
    high: (a, b) => b.share - a.share || a.problem - b.problem,
    split: (a, b) => Math.abs(a.share - 0.5) - Math.abs(b.share - 0.5) || a.problem - b.problem,
  };

  // Chunks of responses, unpacked when first asked for.
  const unpacked = new Map();
  function chunk(number) {
    if (!unpacked.has(number)) unpacked.set(number, unpack(byId(`chunk-${number}`).textContent));
    return unpacked.get(number);
  }
  // What a run holds of a problem: out of the page, or from the server where it serves one.
  async function responsesOf(run, row) {
    const key = data.problems[row.problem].key;
    if (!data.served) return (await chunk(row.chunk))[key];
    const answer = await fetch(`responses?run=${run}&problem=${encodeURIComponent(key)}`);
    if (!answer.ok) throw new Error(await answer.text());
    return answer.json();
  }
  async function unpack(packed) {
    const bytes = Uint8Array.from(atob(packed.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  function matching() {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    return runs[state.run].rows
      .filter((row) => state.kind === "all" || row.kind === state.kind)
      .filter((row) => !state.tag || data.problems[row.problem].tags.includes(state.tag))
      .filter((row) => words.every((word) => haystack[row.problem].includes(word))
        || (state.found !== null && state.found.has(row.problem)))
      .sort(orders[state.sort]);
  }

  function draw() {
    const rows = matching();
    const shown = rows.slice(0, state.limit);
    byId("list").replaceChildren(...shown.map(problemRow));
    const total = runs[state.run].rows.length;
    byId("status").textContent = rows.length === total
      ? `${plural(total, "problem")}. Open one to read its responses.`
      : `${rows.length.toLocaleString("en")} of ${plural(total, "problem")}`;
    const more = byId("more");
    more.hidden = rows.length <= shown.length;
    more.textContent = `Show ${Math.min(PAGE, rows.length - shown.length)} more of ${rows.length.toLocaleString("en")}`;
    drawKinds();
  }

  // Only a server can look into all responses.
  async function searchResponses() {
    const words = state.search, run = state.run;
    if (!words.trim()) return;
    byId("status").textContent = "Searching all responses";
    const answer = await fetch(`search?run=${run}&text=${encodeURIComponent(words)}`);
    if (!answer.ok || state.search !== words || state.run !== run) return;
    const at = new Map(data.problems.map((problem, number) => [problem.key, number]));
    set({ found: new Set((await answer.json()).problems.map((key) => at.get(key))) });
  }

  function drawKinds() {
    const rows = runs[state.run].rows;
    byId("kinds").replaceChildren(...["all", "never", "sometimes", "always"].map((kind) => {
      const n = kind === "all" ? rows.length : rows.filter((row) => row.kind === kind).length;
      return choice(`${kind} ${n.toLocaleString("en")}`, state.kind === kind, () => {
        set({ kind }); byId("kinds").querySelector("[aria-pressed=true]").focus();
      });
    }));
  }
  const choice = (text, pressed, click) =>
    make("button", { type: "button", "aria-pressed": String(pressed), text, click });

  function set(change) {
    Object.assign(state, { limit: PAGE, open: null }, change);
    draw();
  }

  function problemRow(row) {
    const problem = data.problems[row.problem];
    const item = make("li", { class: "problem" });
    const fill = make("i");
    fill.style.width = `${100 * row.share}%`;
    const button = make("button", {
      type: "button", "aria-expanded": "false",
      click: () => (item.querySelector(".panel") ? shut(item) : open(item, row, true)),
    },
      make("span", { class: `bar ${row.kind}`, "aria-hidden": "true" }, fill),
      make("span", { class: "share", text: `${row.correct}/${row.all}`, "aria-label": `${row.correct} of ${row.all} right` }),
      make("span", { class: "question", text: problem.question.replace(/\s+/g, " ").slice(0, 300) }),
      make("span", { class: "tags", text: problem.tags.join(", ") }));
    item.append(button);
    item.dataset.problem = String(row.problem);
    if (state.open === row.problem) open(item, row, false);
    return item;
  }

  function shut(item) {
    item.querySelector(".panel").remove();
    item.firstChild.setAttribute("aria-expanded", "false");
    state.open = null;
    remember("");
  }

  function open(item, row, byUser) {
    if (byUser) for (const other of document.querySelectorAll(".problem")) if (other.querySelector(".panel")) shut(other);
    state.open = row.problem;
    const panel = make("div", { class: "panel" }, make("p", { class: "caption", text: "Opening" }));
    item.firstChild.setAttribute("aria-expanded", "true");
    item.append(panel);
    if (byUser) remember(`#p=${encodeURIComponent(data.problems[row.problem].key)}${state.run ? `&run=${state.run + 1}` : ""}`);
    const run = state.run;
    responsesOf(run, row).then((held) => {
      fillPanel(panel, row, run, held);
      if (!byUser) item.scrollIntoView({ block: "start" });
    })
      .catch(() => panel.replaceChildren(make("p", { class: "caption warn", text: data.served
        ? "The server does not answer: is `upwell report --serve` still running?"
        : "This browser cannot unpack the responses (it has no DecompressionStream)." })));
  }

  function remember(hash) {
    try { history.replaceState(null, "", hash || location.pathname + location.search); } catch { /* a sandboxed frame */ }
  }

  // The panel of an open problem.
  function fillPanel(panel, row, run, held) {
    const problem = data.problems[row.problem];
    const parts = [
      make("h4", { text: "Question" }), make("p", { class: "text", dir: "auto", text: problem.question }),
      make("h4", { text: "Reference answer" }), make("p", { class: "text gold", text: problem.answer }),
    ];
    if (held.solution) {
      parts.push(make("details", { class: "data" }, make("summary", { text: "Worked solution" }),
        make("p", { class: "text", dir: "auto", text: held.solution })));
    }
    if (runs.length > 1) parts.push(...across(row));
    if (held.responses.length === row.all && row.all > 1) parts.push(...votes(held.responses));
    parts.push(make("h4", { text: "Key" }), make("p", { class: "text mono", text: problem.shown_key }));
    const columns = make("div", { class: "columns" });
    if (runs.length > 1) parts.push(beside(row, run, columns));
    columns.append(column(row, run, held.responses));
    parts.push(columns);
    panel.replaceChildren(...parts);
  }
  function column(row, run, responses) {
    const list = make("div"), tools = make("div", { class: "line" }), whole = make("div", { class: "column" });
    if (runs.length > 1) whole.append(make("h4", { text: runs[run].name }));
    whole.append(tools, list);
    drawResponses(tools, list, row, responses, { only: "all", tier: "" }, RESPONSES, null);
    return whole;
  }

  // Another run's responses to the same problem, in a column of their own.
  function beside(row, run, columns) {
    const others = runs.map((other, number) => [other, number]).filter(([other, number]) => number !== run && other.at.has(row.problem));
    const chosen = make("select", { "aria-label": "Side by side with" },
      make("option", { value: "", text: "no other run" }),
      ...others.map(([other, number]) => make("option", { value: String(number), text: other.name })));
    chosen.addEventListener("change", async () => {
      while (columns.children.length > 1) columns.lastChild.remove();
      if (!chosen.value) return;
      const number = Number(chosen.value), own = runs[number].at.get(row.problem);
      const held = await responsesOf(number, own);
      if (chosen.value === String(number)) columns.append(column(own, number, held.responses));
    });
    return make("label", { class: "field" }, make("span", { text: "Side by side with" }), chosen);
  }

  function across(row) {
    const buttons = runs.map((run, number) => {
      const other = run.at.get(row.problem);
      const text = `${run.name} ${other ? `${other.correct}/${other.all}` : "not measured"}`;
      if (!other || number === state.run) return make("li", { text });
      return make("li", { class: "across" }, make("button", {
        type: "button", text, click: () => { byId("run").value = String(number); state.run = number; reveal(row.problem); },
      }));
    });
    return [make("h4", { text: "Right in each run" }), make("ul", { class: "votes" }, ...buttons)];
  }

  function votes(responses) {
    const tally = new Map();
    for (const response of responses) {
      const key = response.answer === null ? "\u0000none" : response.answer;
      const entry = tally.get(key) || { answer: response.answer, n: 0, correct: response.correct };
      entry.n += 1;
      tally.set(key, entry);
    }
    const sorted = [...tally.values()].sort((a, b) => b.n - a.n);
    const items = sorted.slice(0, 6).map((entry) => make("li", null,
      entry.answer === null ? make("span", { class: "caption", text: "no answer" }) : make("bdi", { text: entry.answer }),
      ` × ${entry.n} `,
      entry.correct === true ? make("span", { class: "verdict correct", text: "✓", title: "correct", "aria-label": "correct" }) : null));
    const rest = sorted.slice(6);
    if (rest.length) items.push(make("li", { class: "caption", text: `and ${plural(rest.length, "other answer")}` }));
    return [make("h4", { text: "Answers as written" }), make("ul", { class: "votes" }, ...items)];
  }

  const outcome = (r) => (!r.graded ? "not graded" : r.correct === null ? "undecided" : r.correct ? "correct" : "incorrect");
  const signs = { correct: "✓", incorrect: "✗", undecided: "?", "not graded": "–" };

  function drawResponses(tools, list, row, responses, wanted, limit, focus) {
    const fits = (r, { only, tier }) => (only === "all" || outcome(r) === only) && (!tier || r.tier === tier);
    const found = responses.filter((r) => fits(r, wanted));
    const again = (next, wide, focused) => drawResponses(tools, list, row, responses, { ...wanted, ...next }, wide, focused);
    const kinds = ["all", ...new Set(["correct", "incorrect", ...responses.map(outcome)])];
    const choices = make("div", { class: "choices", role: "group", "aria-label": "Show responses" },
      ...kinds.map((only) => {
        const n = responses.filter((r) => fits(r, { ...wanted, only })).length;
        return choice(`${only} ${n}`, wanted.only === only, () => again({ only }, RESPONSES, ".choices [aria-pressed=true]"));
      }));
    const tiers = [...new Set(responses.map((r) => r.tier).filter(Boolean))].sort();
    const byTier = tiers.length < 2 ? null : make("label", { class: "field" }, make("span", { text: "Decided by" }),
      make("select", { class: "tier" }, make("option", { value: "", text: "any rule" }),
        ...tiers.map((tier) => make("option", { value: tier, text: tier, selected: tier === wanted.tier }))));
    if (byTier) byTier.lastChild.addEventListener("change", (event) => again({ tier: event.target.value }, RESPONSES, ".tier"));
    const held = responses.length < row.all
      ? `Showing ${responses.length} of ${plural(row.all, "response")}: the first ones of both outcomes.` : "";
    tools.replaceChildren(...[choices, byTier, make("span", { class: "caption", text: held })].filter(Boolean));
    if (focus) tools.querySelector(focus).focus();
    list.replaceChildren(...found.slice(0, limit).map(responseItem));
    if (found.length > limit) {
      list.append(make("button", {
        type: "button", class: "quiet", text: `Show ${Math.min(RESPONSES, found.length - limit)} more of ${found.length}`,
        click: () => again({}, limit + RESPONSES, null),
      }));
    }
    if (!found.length) list.append(make("p", { class: "caption", text: responses.length ? "None." : "The run holds no responses to this problem." }));
  }

  function responseItem(r) {
    const verdict = outcome(r);
    const about = make("div", { class: "about" },
      make("span", { class: `verdict ${verdict}`, text: `${signs[verdict]} ${verdict}` }),
      r.answer === null ? make("span", { text: "no answer found" }) : make("span", null, "answer ", make("bdi", { text: r.answer })),
      r.tier && r.tier !== "none" ? make("span", { text: `decided by ${r.tier}` }) : null,
      r.trouble ? make("span", { class: "warn", text: `trouble: ${r.trouble}` }) : null,
      r.sound === "no" ? make("span", { class: "warn", text: "an equation in it is wrong" }) : null,
      r.score === null ? null : make("span", { text: `score ${Number(r.score.toPrecision(4))}` }),
      r.tokens === null ? null : make("span", { text: plural(r.tokens, "token") }),
      r.finish === "length" ? make("span", { class: "warn", text: "cut at the token limit" }) : null,
      r.finish === "stop" ? make("span", { text: "ended by itself" }) : null,
      make("span", { text: `try ${r.index}` }));
    const item = make("article", { class: "response" }, about);
    item.append(r.text ? make("p", { class: "text", dir: "auto", tabindex: "0", text: r.text }) : make("p", { class: "caption", text: "(empty)" }));
    if (r.whole) item.append(make("p", { class: "caption", text: `The first part of ${r.whole.toLocaleString("en")} characters; the run holds the whole.` }));
    return item;
  }

  // Deep links: #p=<problem key>&run=<number from 1>
  function reveal(number) {
    const row = runs[state.run].at.get(number);
    if (!row) return;
    if (!matching().includes(row)) { Object.assign(state, { kind: "all", tag: "", search: "", found: null }); byId("search").value = byId("tag").value = ""; }
    state.limit = Math.max(state.limit, Math.ceil((matching().indexOf(row) + 1) / PAGE) * PAGE);
    state.open = number;
    draw();
    const item = document.querySelector(`[data-problem="${number}"]`);
    if (item) item.scrollIntoView({ block: "start" });
  }
  function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1).replace(/\+/g, "%2B"));
    if (!wanted.has("p")) return;
    const run = Number(wanted.get("run") || 1) - 1;
    if (runs[run]) { state.run = run; byId("run").value = String(run); }
    const number = data.problems.findIndex((problem) => problem.key === wanted.get("p"));
    if (number >= 0) reveal(number);
  }

  // Figures: what a mark says, beside the pointer. A curve answers with all its lines at the nearest k.
  const tip = byId("tip");
  function readable(svg) {
    const gather = () => [...svg.querySelectorAll("g.role-mark [aria-label]")].map((mark) => {
      const box = mark.getBoundingClientRect();
      const panel = mark.closest("g.role-scope") || svg;
      return { said: mark.getAttribute("aria-label"), x: box.x + box.width / 2, y: box.y + box.height / 2, box, panel };
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
    svg.addEventListener("pointermove", (event) => {
      const marks = gather();
      const near = svg.dataset.kind === "curve" ? atNearestX(samePanel(marks, event), event) : nearest(marks, event);
      if (!near.length) { tip.hidden = true; return; }
      showTip(near.map((mark) => mark.said), event);
    });
  }
  function samePanel(marks, event) {
    const away = (panel) => {
      const box = panel.getBoundingClientRect();
      return Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
    };
    const [nearestPanel] = [...new Set(marks.map((mark) => mark.panel))].sort((a, b) => away(a) - away(b));
    return marks.filter((mark) => mark.panel === nearestPanel);
  }
  function atNearestX(marks, event) {
    let best = Infinity, x = 0;
    for (const mark of marks) {
      const distance = Math.abs(mark.x - event.clientX);
      if (distance < best) { best = distance; x = mark.x; }
    }
    return best > 60 ? [] : marks.filter((mark) => Math.abs(mark.x - x) < 1).sort((a, b) => a.y - b.y);
  }
  function nearest(marks, event) {
    const distance = ({ box }) => Math.hypot(
      Math.max(box.left - event.clientX, 0, event.clientX - box.right),
      Math.max(box.top - event.clientY, 0, event.clientY - box.bottom));
    const sorted = marks.map((mark) => [distance(mark), mark]).sort((a, b) => a[0] - b[0]);
    return sorted.length && sorted[0][0] <= 14 ? [sorted[0][1]] : [];
  }
  function showTip(saids, event) {
    const lines = saids.map((said) => said.split("\n"));
    const body = make("table", null, ...lines.flatMap((said) => said.slice(1)).map((line) =>
      make("tr", null, ...line.split("\t").map((text) => make("td", { text })))));
    tip.replaceChildren(make("div", { text: lines[0][0] }), body);
    tip.hidden = false;
    const left = event.clientX + 16 + tip.offsetWidth > innerWidth ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16;
    tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4))}px)`;
  }

  function start() {
    document.querySelectorAll(".plot svg").forEach(readable);
    if (!runs.length) return; // a page of analyses alone has nothing to browse
    document.querySelector(".tools").hidden = false;
    if (runs.length > 1) {
      byId("run-field").hidden = false;
      byId("run").append(...runs.map((run, number) => make("option", { value: String(number), text: run.name })));
      byId("run").addEventListener("change", (event) => set({ run: Number(event.target.value), found: null }));
    }
    byId("sort").addEventListener("change", (event) => set({ sort: event.target.value }));
    const tags = [...new Set(data.problems.flatMap((problem) => problem.tags))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (tags.length > 1) {
      byId("tag-field").hidden = false;
      byId("tag").append(...tags.map((tag) => make("option", { value: tag, text: tag })));
      byId("tag").addEventListener("change", (event) => set({ tag: event.target.value }));
    }
    byId("search").addEventListener("input", (event) => set({ search: event.target.value, found: null }));
    if (data.served) {
      byId("search").placeholder = "question, answer, subject; Enter: responses too";
      byId("search").addEventListener("change", searchResponses);
    }
    byId("more").addEventListener("click", () => { state.limit += PAGE; draw(); });
    addEventListener("hashchange", follow);
    draw();
    follow();
  }
  start();
})();
