// Keeps the numbers of the page up to date and draws them. The page's attributes say which number goes where; see
// page.rs, which fills them in the same way when the page is loaded.
(() => {
  "use strict";

  const PERIOD = 2000; // Milliseconds between two questions, ...
  const PERIOD_MAX = 60000; // ... and when nobody answers.
  const PATIENCE = 5000; // How long an answer may take.
  const POINTS_MAX = 900; // Half an hour in each chart.
  const SPAN_MIN = 120; // Seconds that a chart shows at least.
  const WINDOW = 6; // "Now" is the last ten seconds: so many answers.

  const $ = (id) => document.getElementById(id);
  const at = (told, path) => path.split("/").slice(1).reduce((value, name) => value?.[name], told);

  // Numbers as people read them: as readable.rs writes them.
  const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");
  const fixed = (number, decimals) => {
    const factor = 10 ** decimals;
    const rounded = Math.floor(Math.abs(number) * factor + 0.5);
    const whole = grouped(String(Math.floor(rounded / factor)));
    const rest = decimals ? "." + String(rounded % factor).padStart(decimals, "0") : "";
    return (number < 0 ? "-" : "") + whole + rest;
  };
  const BYTES = [[0, 1, 0, "B"], ...["KiB", "MiB", "GiB", "TiB"].map((name, index) => {
    const size = 1024 ** (index + 1);
    return [size, size, 1, name];
  })];
  const DURATIONS = [[0, 0.000001, 1, "µs"], [0.001, 0.001, 1, "ms"], [1, 1, 1, "s"], [60, 60, 1, "min"],
    [3600, 3600, 1, "h"], [86400, 86400, 1, "d"]];
  const scaled = (number, scales) => {
    if (number <= 0) return "0";
    const [, divisor, decimals, name] = scales.findLast(([from]) => from <= number);
    return `${fixed(number / divisor, decimals)} ${name}`;
  };
  const UNITS = {
    count: (number) => fixed(number, 0),
    number: (number) => fixed(number, 2),
    percent: (number) => fixed(number, 0) + " %",
    ratio: (number) => fixed(number * 100, 2) + " %",
    bytes: (number) => scaled(number, BYTES),
    duration: (number) => scaled(number, DURATIONS),
    rate: (number) => fixed(number, number > 0 && number < 10 ? 1 : 0) + "/s",
    byterate: (number) => scaled(number, BYTES) + "/s",
  };
  const write = (unit, value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "number" && UNITS[unit]) return UNITS[unit](value);
    return typeof value === "string" ? value : JSON.stringify(value);
  };

  // Text, never HTML: keys and names of namespaces are the clients'.
  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const quantile = (rank, ends, counts) => {
    const all = counts.reduce((sum, count) => sum + count, 0);
    let below = 0;
    let start = 0;
    for (const [index, end] of ends.entries()) {
      if (counts[index] > 0 && below + counts[index] >= all * rank) {
        return start + (end - start) * ((all * rank - below) / counts[index]);
      }
      below += counts[index];
      start = end;
    }
    return all > 0 ? start : null;
  };

  // What happened between two answers. A counter that has fallen was reset: nothing is known then.
  const between = (before, after) => {
    const seconds = (after.came - before.came) / 1000;
    const more = (path) => {
      const grown = at(after.told, path) - at(before.told, path);
      return grown >= 0 ? grown : null;
    };
    const rate = (...paths) => {
      const grown = paths.map(more);
      return grown.includes(null) ? null : grown.reduce((sum, one) => sum + one, 0) / seconds;
    };
    const latency = (command, rank) => {
      const [old, now] = [before, after].map((answer) => answer.told.latency_seconds[command]);
      const counts = now.counts.map((count, index) => count - old.counts[index]);
      return counts.some((count) => count < 0) ? null : quantile(rank, now.upper_bounds, counts);
    };
    const hitRatio = () => {
      const [hits, gets] = [more("/stats/get_hits"), more("/stats/cmd_get")];
      return gets > 0 && hits !== null ? hits / gets : null;
    };
    return { rate, latency, hitRatio };
  };

  const NOW = {
    hit_ratio: (change) => write("ratio", change.hitRatio()),
    operations: (change) => write("rate", change.rate("/stats/cmd_get", "/stats/cmd_set")),
    get_p99: (change) => write("duration", change.latency("get", 0.99)),
    evictions: (change) => write("rate", change.rate("/evictions/total")),
  };

  const rates = (paths) => Object.entries(paths).map(([label, path]) =>
    [label, (change) => change.rate(...[path].flat())]);
  const gauges = (paths) => Object.entries(paths).map(([label, path]) =>
    [label, (_, told) => at(told, path)]);
  const CHARTS = [
    { id: "chart-hits", unit: "ratio", most: 1, lines: [["hit rate", (change) => change.hitRatio()]] },
    { id: "chart-commands", unit: "rate", lines: rates({
      get: "/stats/cmd_get", set: "/stats/cmd_set", delete: ["/stats/delete_hits", "/stats/delete_misses"],
      touch: "/stats/cmd_touch",
      arithmetic: ["/stats/incr_hits", "/stats/incr_misses", "/stats/decr_hits", "/stats/decr_misses"],
    }) },
    { id: "chart-latency", unit: "duration", lines: [] },
    { id: "chart-misses", unit: "rate", lines: [] },
    { id: "chart-evictions", unit: "rate", lines: rates({
      evicted: "/evictions/total", "expired or flushed": ["/stats/reclaimed", "/stats/crawler_reclaimed"],
    }) },
    { id: "chart-connections", unit: "count", lines: gauges({ connected: "/stats/curr_connections" }) },
    { id: "chart-bytes", unit: "byterate", lines: rates({
      read: "/stats/bytes_read", written: "/stats/bytes_written",
    }) },
  ];
  const RANKS = { "50 %": 0.5, "99 %": 0.99, "99.9 %": 0.999 };

  const answers = []; // The last ones, with when they came.
  const times = []; // Of all points in the charts, in seconds.
  const plots = new Map();
  let chosen = "get";

  // The lines that depend on what the daemon tells.
  const complete = (told) => {
    const chart = (id) => CHARTS.find((known) => known.id === id);
    chart("chart-misses").lines = rates(Object.fromEntries(
      Object.keys(told.miss_reasons).map((reason) => [reason, `/miss_reasons/${reason}`])));
    const commands = Object.keys(told.latency_seconds);
    chart("chart-latency").lines = commands.flatMap((command) => Object.entries(RANKS).map(
      ([label, rank]) => [label, (_change, _told, recent) => recent.latency(command, rank), command]));
    for (const { lines } of CHARTS) for (const line of lines) line.points = [];
    $("command").replaceChildren(...commands.map((command) => new Option(command)));
    $("command").disabled = false;
    $("command").addEventListener("change", ({ target }) => {
      chosen = target.value;
      draw("chart-latency");
    });
  };

  const shown = (chart) => chart.lines.filter(([, , command]) => !command || command === chosen);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 8);

  const BINARY = Array.from({ length: 40 }, (_, power) => 2 ** power); // Steps of axes of bytes.
  const mark = (unit) => (value) => (unit === "ratio" ? fixed(value * 100, 0) + " %" : write(unit, value));

  const begin = (chart) => {
    const place = $(chart.id);
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const text = (_, value) => write(chart.unit, value);
    const plot = new uPlot({
      width: place.clientWidth, height: 190, padding: [12, 4, 0, 0],
      cursor: { drag: { x: false, y: false }, sync: { key: "time" }, points: { size: 6 } },
      legend: { live: true },
      hooks: { setCursor: [(u) => u.cursor.idx ?? u.setLegend({ idx: times.length - 1 })] },
      scales: {
        x: { range: (_, least, most) => [Math.min(least ?? 0, (most ?? 0) - SPAN_MIN), most ?? 0] },
        y: { range: (_, __, most) => [0, chart.most ?? (most > 0 ? most * 1.1 : 1)] },
      },
      axes: [
        { ...axis, space: 80, size: 30, values: (_, marks) => marks.map(clock) },
        { ...axis, size: 76, space: 34, ...(chart.unit.startsWith("byte") ? { incrs: BINARY } : {}), values: (_, marks) => marks.map(mark(chart.unit)) },
      ],
      series: [{}, ...shown(chart).map(([label], index) => ({
        label, stroke: color(`--c${index % 7 + 1}`), width: 1.75, value: text, points: { show: false },
        ...(shown(chart).length === 1 ? { fill: color("--c1") + "22" } : {}),
      }))],
    }, [times, ...shown(chart).map((line) => line.points)], place);
    plots.set(chart.id, plot);
  };

  const draw = (id) => {
    for (const chart of CHARTS) {
      if (id && id !== chart.id) continue;
      plots.get(chart.id)?.destroy();
      $(chart.id).closest("figure").classList.add("drawn");
      begin(chart);
    }
  };

  const addPoints = (change, told, recent) => {
    times.push(Date.now() / 1000);
    if (times.length > POINTS_MAX) times.shift();
    for (const chart of CHARTS) {
      for (const line of chart.lines) {
        line.points.push(change ? line[1](change, told, recent) ?? null : null);
        if (line.points.length > POINTS_MAX) line.points.shift();
      }
      const lines = shown(chart);
      const plot = plots.get(chart.id);
      plot?.setData([times, ...lines.map((line) => line.points)]);
      // Without a pointer on a chart, its legend tells what is now.
      if (plot?.cursor.idx == null) plot?.setLegend({ idx: times.length - 1 });
      const last = lines.map(([label, , ], index) => `${label} ${write(chart.unit, lines[index].points.at(-1))}`);
      const title = $(chart.id).closest("figure").querySelector("figcaption").firstChild.textContent.trim();
      $(chart.id).setAttribute("role", "img");
      $(chart.id).setAttribute("aria-label", `${title}: ${last.join(", ")}`);
    }
  };

  const fillRows = (body, rows) => {
    const columns = body.dataset.columns.split(" ").map((column) => column.split(":"));
    const entries = Array.isArray(rows) ? rows : Object.entries(rows ?? {}).map(([name, value]) =>
      (value !== null && typeof value === "object" ? { ...value, name, value } : { name, value }));
    if (entries.length === 0) {
      const cell = document.createElement("td");
      cell.colSpan = columns.length;
      cell.textContent = "none yet";
      body.replaceChildren();
      body.insertRow().append(cell);
      return;
    }
    if (body.rows[0]?.cells.length === 1) body.deleteRow(0); // There were none.
    while (body.rows.length > entries.length) body.deleteRow(-1);
    for (const [index, entry] of entries.entries()) {
      const row = body.rows[index] ?? body.insertRow();
      for (const [place, [name, unit]] of columns.entries()) {
        let cell = row.cells[place];
        if (!cell) {
          cell = document.createElement(unit === "text" ? "th" : "td");
          if (unit === "text") cell.scope = "row";
          row.append(cell);
        }
        say(cell, write(unit, entry[name]));
      }
    }
  };

  // A band of parts, and their colours beside the names in its table.
  const showMap = (id, table, parts) => {
    const map = $(id);
    const rows = $(table).tBodies[0].rows;
    while (map.children.length > parts.length) map.lastChild.remove();
    for (const [index, [name, bytes]] of parts.entries()) {
      const part = map.children[index] ?? map.appendChild(document.createElement("span"));
      part.style.flexGrow = bytes;
      part.style.background = `var(--c${index % 7 + 1})`;
      part.title = `${name}: ${write("bytes", bytes)}`;
      const head = rows[index].cells[0];
      if (!head.querySelector(".key")) {
        const key = document.createElement("span");
        key.className = "key";
        key.style.background = part.style.background;
        head.prepend(key);
      }
    }
    map.hidden = parts.every(([, bytes]) => bytes === 0);
  };

  const showBars = (place, bars) => {
    place.replaceChildren(...bars.flatMap(([text, length, share]) => {
      const [name, bar, part] = ["span", "i", "span"].map((tag) => document.createElement(tag));
      name.textContent = text;
      bar.style.width = `${length * 100}%`;
      part.textContent = share;
      return [name, bar, part];
    }));
    if (bars.length === 0) place.textContent = "none yet";
    place.closest("figure").classList.add("drawn");
  };

  // A bar for each bucket from the first to the last in which there is something.
  const showDistribution = (place, { counts, upper_bounds: ends, count }) => {
    const used = counts.flatMap((one, index) => (one > 0 ? [index] : []));
    const most = Math.max(...counts);
    const bars = [];
    for (let index = used[0]; index <= used.at(-1); index += 1) {
      const end = short(place.dataset.format, ends[index] ?? ends.at(-1));
      const text = index < ends.length ? `≤ ${end}` : `> ${end}`;
      bars.push([text, counts[index] / most, `${fixed(counts[index] / count * 100, 1)} %`]);
    }
    showBars(place, bars);
  };
  // Ends of buckets are round numbers.
  const short = (unit, number) => write(unit, number).replace(".0 ", " ");

  const fill = (told) => {
    for (const element of document.querySelectorAll("[data-path]")) {
      say(element, write(element.dataset.format, at(told, element.dataset.path)));
    }
    for (const bar of document.querySelectorAll("[data-value]")) bar.value = at(told, bar.dataset.value) ?? 0;
    for (const body of document.querySelectorAll("[data-rows]")) {
      fillRows(body, at(told, body.dataset.rows));
    }
    for (const place of document.querySelectorAll("[data-bars]")) {
      showDistribution(place, at(told, place.dataset.bars));
    }
    for (const place of document.querySelectorAll("[data-ratios]")) {
      const ratios = Object.entries(at(told, place.dataset.ratios));
      showBars(place, ratios.map(([name, ratio]) => [name, ratio, write("ratio", ratio)]));
    }
    for (const part of document.querySelectorAll("[data-show]")) {
      const value = at(told, part.dataset.show);
      part.hidden = value === null || value === undefined || value === false
        || (typeof value === "object" && Object.keys(value).length === 0);
    }
    for (const part of document.querySelectorAll("[data-class]")) part.className = at(told, part.dataset.class);
    showMap("memory-map", "memory-states", Object.entries(told.memory.states));
    showMap("namespace-map", "namespace-rows", told.keys.namespaces.map(({ name, bytes }) => [name, bytes]));
  };

  const show = (told) => {
    const last = answers.at(-1);
    if (last && last.told.stats.pid !== told.stats.pid) {
      location.reload(); // Another process: its settings may be others.
      return;
    }
    const answer = { came: performance.now(), told };
    fill(told);
    if (answers.length === 0) complete(told);
    answers.push(answer);
    if (answers.length > WINDOW) answers.shift();
    if (last) {
      const recent = between(answers[0], answer);
      for (const tile of document.querySelectorAll("[data-now]")) say(tile, NOW[tile.dataset.now](recent));
      // A line is not drawn over a time in which nobody looked.
      addPoints(answer.came - last.came < 3 * PERIOD ? between(last, answer) : null, told, recent);
    }
    if (plots.size === 0) draw();
    document.documentElement.classList.add("followed");
  };

  let timer;
  let failures = 0;
  let paused = false;

  const next = (pause) => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, pause);
  };

  const ask = async () => {
    try {
      const response = await fetch("api/v1/stats", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!response.ok) throw new Error(`status ${response.status}`);
      const told = await response.json();
      if (told.schema !== 1) throw new Error("another version of the API: reload the page");
      show(told);
      failures = 0;
      $("live").classList.remove("late");
      say($("live"), `follows every ${PERIOD / 1000} s`);
      next(PERIOD);
    } catch (error) {
      failures += 1;
      const pause = Math.min(PERIOD * 2 ** failures, PERIOD_MAX);
      $("live").classList.add("late");
      const why = error.name === "TimeoutError" ? `within ${PATIENCE / 1000} s` : `(${error.message})`;
      say($("live"), `No answer ${why}: these numbers are old. Next try in ${pause / 1000} s.`);
      next(pause);
    }
  };

  const pause = document.createElement("button");
  pause.type = "button";
  pause.textContent = "Pause";
  pause.setAttribute("aria-pressed", "false");
  $("live").after(pause);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    if (paused) say($("live"), "paused");
    next(0);
  });
  document.addEventListener("visibilitychange", () => next(0));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.size && draw());
  new ResizeObserver(() => {
    for (const [id, plot] of plots) {
      const width = $(id).clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: plot.height });
    }
  }).observe(document.body);
  ask();
})();
