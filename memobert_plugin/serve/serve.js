"use strict";

// The page of memobert serve: chooses or records a clip, queues it, and follows the answers. Names and texts from
// files are only ever set as text.

const at = (id) => document.getElementById(id);
const colors = JSON.parse(at("serve").dataset.colors);
// "classes": one emotion of several; "several": any labels; "dimensions": numbers.
const kind = at("serve").dataset.kind;
const mostBytes = Number(at("serve").dataset.mostBytes);
const RECORDED_SECONDS = 10;
const POLL = 400;
const SVG = "http://www.w3.org/2000/svg";

let clip = null;
let job = null;
let answers = [];
let recorder = null;

const percent = (share) => `${Math.round(100 * share)} %`;
const seconds = (time) => `${time.toFixed(1)} s`;

function complain(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function show(file) {
  complain("");
  if (file.size > mostBytes) {
    complain(`${file.name}: this server takes ${Math.round(mostBytes / 1048576)} MB at most`);
    return;
  }
  clip = file;
  const player = at("player");
  if (player.src) URL.revokeObjectURL(player.src);
  player.srcObject = null;
  player.muted = false;
  player.src = URL.createObjectURL(file);
  player.hidden = false;
  at("chosen").textContent = `chosen: ${file.name}`;
  at("every").value = "";
}

at("player").addEventListener("loadedmetadata", () => {
  const lasts = at("player").duration;
  if (clip && Number.isFinite(lasts) && lasts > 8) at("every").value = "4";
});

at("clip").addEventListener("change", () => {
  if (at("clip").files.length) show(at("clip").files[0]);
});

for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
});

async function devices() {
  try {
    return await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
  } catch (error) {
    if (error.name !== "NotFoundError") throw error;
    return navigator.mediaDevices.getUserMedia({ audio: true });
  }
}

async function record() {
  complain("");
  if (recorder) {
    recorder.stop();
    return;
  }
  let stream;
  try {
    stream = await devices();
  } catch (error) {
    complain(`no camera or microphone can be used (${error.name}); allow it, or choose a file`);
    return;
  }
  const player = at("player");
  player.removeAttribute("src");
  player.srcObject = stream;
  player.muted = true;
  player.hidden = false;
  player.play().catch(() => {});
  const parts = [];
  recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
  recorder.addEventListener("stop", () => {
    stream.getTracks().forEach((track) => track.stop());
    const kind = recorder.mimeType.startsWith("audio/") ? "weba" : recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    recorder = null;
    at("record").textContent = `Record ${RECORDED_SECONDS} seconds with camera and microphone`;
    show(new File(parts, `recording.${kind}`));
  });
  recorder.start();
  at("record").textContent = "Stop recording";
  at("chosen").textContent = "recording …";
  const own = recorder;
  setTimeout(() => own.state === "recording" && own.stop(), 1000 * RECORDED_SECONDS);
}

at("record").addEventListener("click", record);

async function answerOf(response) {
  let content = {};
  try {
    content = await response.json();
  } catch {
    content = { error: `the server answered ${response.status}` };
  }
  if (!response.ok) throw new Error(content.error || `the server answered ${response.status}`);
  return content;
}

at("question").addEventListener("submit", async (event) => {
  event.preventDefault();
  complain("");
  const form = new FormData();
  const text = at("text").value.trim();
  if (!clip && !text) {
    complain("choose or record a clip, or type what is said");
    return;
  }
  if (text && at("every").value && clip) {
    complain("a text belongs to the whole clip; choose one answer, or leave the text out");
    return;
  }
  if (clip) form.append("clip", clip, clip.name);
  if (text) form.append("text", text);
  if (clip && at("every").value) form.append("every", at("every").value);
  form.append("page", "1");
  at("ask").disabled = true;
  begin();
  try {
    job = (await answerOf(await fetch("jobs", { method: "POST", body: form }))).job;
    await follow();
  } catch (error) {
    at("headline").textContent = "No answer";
    at("status").textContent = "";
    complain(error.message);
  } finally {
    at("ask").disabled = false;
    at("stop").hidden = true;
    at("progress").hidden = true;
    job = null;
  }
});

at("stop").addEventListener("click", () => job && fetch(job, { method: "DELETE" }));

function begin() {
  answers = [];
  at("answers").replaceChildren();
  at("notes").replaceChildren();
  at("chart").replaceChildren();
  for (const id of ["timeline", "links", "reasons"]) at(id).hidden = true;
  for (const id of ["result", "stop", "progress"]) at(id).hidden = false;
  at("progress").removeAttribute("value");
  at("headline").textContent = "Working";
  at("status").textContent = "sending";
}

async function follow() {
  for (;;) {
    const state = await answerOf(await fetch(`${job}?since=${answers.length}`));
    for (const line of state.answers) add(line);
    if (state.total) at("progress").value = state.done / state.total;
    at("status").textContent =
      state.state === "waiting" ? `waiting; ${state.before} before this one` : `${state.done} of ${state.total ?? "?"} answered`;
    if (state.state === "failed") throw new Error(state.error);
    if (state.state === "done") {
      finish(state);
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL));
  }
}

function add(line) {
  answers.push(line);
  const row = at("answers").insertRow();
  const where = row.insertCell();
  if (line.end !== null && clip) {
    const play = document.createElement("button");
    play.type = "button";
    play.textContent = `${seconds(line.start)} – ${seconds(line.end)}`;
    play.setAttribute("aria-label", `play from ${seconds(line.start)} to ${seconds(line.end)}`);
    play.addEventListener("click", () => {
      at("player").currentTime = line.start;
      at("player").play();
      at("player").scrollIntoView({ block: "nearest" });
    });
    where.append(play);
  } else {
    where.textContent = line.id;
  }
  if (line.error) {
    row.insertCell().textContent = `no answer: ${line.error}`;
    if (kind === "classes") row.insertCell();
    row.insertCell();
  } else {
    row.insertCell().textContent = `${inWords(line)}${line.unsure ? " (unsure)" : ""}`;
    if (kind === "classes") row.insertCell().textContent = percent(line.confidence);
    row.insertCell().append(kind === "classes" ? bar(line.probabilities) : bars(valuesOf(line)));
  }
  draw();
}

// Of each label: the filled share of its bar, and its value in words.
function valuesOf(line) {
  if (kind !== "dimensions") {
    const decided = (name) => (line.labels.includes(name) ? "yes" : "no");
    return Object.entries(line.probabilities).map(([name, share]) => [name, share, `${percent(share)} (${decided(name)})`]);
  }
  const short = (limit) => String(Number(limit.toPrecision(3)));
  return Object.entries(line.dimensions).map(([name, { value, low, high }]) => {
    const share = Math.min(Math.max((value - low) / (high - low || 1), 0), 1);
    return [name, share, `${value.toFixed(2)} (${short(low)} to ${short(high)})`];
  });
}

function inWords(line) {
  if (kind !== "dimensions") return line.label;
  return Object.entries(line.dimensions).map(([name, one]) => `${name} ${one.value.toFixed(2)}`).join(", ");
}

function bars(values) {
  const found = Object.assign(document.createElement("div"), { className: "bars" });
  for (const [name, share, words] of values) {
    const filled = document.createElement("i");
    filled.style.width = `${100 * share}%`;
    filled.style.background = colors[name];
    const track = Object.assign(document.createElement("span"), { className: kind === "several" ? "track half" : "track" });
    track.append(filled);
    found.append(Object.assign(document.createElement("span"), { textContent: name }), track);
    found.append(Object.assign(document.createElement("span"), { textContent: words }));
  }
  return found;
}

function rect(parent, x, y, width, height, fill, title) {
  const found = document.createElementNS(SVG, "rect");
  for (const [name, value] of Object.entries({ x, y, width, height, fill })) found.setAttribute(name, value);
  if (title) found.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
  parent.append(found);
}

function bar(shares) {
  const drawn = document.createElementNS(SVG, "svg");
  drawn.setAttribute("viewBox", "0 0 160 14");
  drawn.setAttribute("width", "160");
  drawn.setAttribute("role", "img");
  const listed = Object.entries(shares).sort((one, other) => other[1] - one[1]);
  drawn.setAttribute("aria-label", listed.map(([name, share]) => `${name} ${percent(share)}`).join(", "));
  let x = 0;
  for (const [name, share] of Object.entries(shares)) {
    rect(drawn, x, 0, 160 * share, 14, colors[name], `${name} ${percent(share)}`);
    x += 160 * share;
  }
  return drawn;
}

function draw() {
  const timed = answers.filter((line) => line.end !== null);
  if (timed.length < 2) return;
  at("timeline").hidden = false;
  at("chart").replaceChildren();
  const end = Math.max(...timed.map((line) => line.end), Number.isFinite(at("player").duration) ? at("player").duration : 0);
  for (const line of timed) {
    const left = (960 * line.start) / end;
    const wide = Math.max((960 * (line.end - line.start)) / end - 1, 1);
    if (kind !== "classes") {
      if (line.error) continue;
      const values = valuesOf(line);
      const room = 120 / values.length;
      values.forEach(([name, share, words], place) => {
        const top = place * room + 3 + (room - 6) * (1 - share);
        const tall = kind === "several" ? (room - 6) * share : 3;
        rect(at("chart"), left, top, wide, tall, colors[name], `${seconds(line.start)}: ${name} ${words}`);
      });
      continue;
    }
    let y = 120;
    for (const [name, share] of Object.entries(line.probabilities || {})) {
      y -= 120 * share;
      rect(at("chart"), left, y, wide, 120 * share, colors[name], `${seconds(line.start)}: ${name} ${percent(share)}`);
    }
  }
}

function headline() {
  const answered = answers.filter((line) => !line.error);
  if (answered.length === 1) {
    const [one] = answered;
    if (kind !== "classes") return inWords(one);
    return `${one.label}, ${percent(one.confidence)}${one.unsure ? ", unsure" : ""}`;
  }
  if (kind === "dimensions") {
    const mean = (name) => answered.reduce((sum, line) => sum + line.dimensions[name].value, 0) / answered.length;
    return `on average ${Object.keys(answered[0].dimensions).map((name) => `${name} ${mean(name).toFixed(2)}`).join(", ")}`;
  }
  const counts = new Map();
  for (const line of answered) {
    const labels = line.labels?.length ? line.labels : [line.label];
    for (const label of labels) counts.set(label, (counts.get(label) || 0) + 1);
  }
  const listed = [...counts].sort((one, other) => other[1] - one[1]);
  return listed.map(([name, count]) => `${name} in ${count} of ${answered.length}`).join(", ");
}

function finish(state) {
  at("headline").textContent = headline();
  at("status").textContent = `done: ${state.name}`;
  const notes = new Set(answers.flatMap((line) => line.notes || []));
  for (const note of notes) at("notes").append(Object.assign(document.createElement("li"), { textContent: note }));
  at("json-link").href = state.json;
  at("page-link").href = state.page;
  at("page-file").href = `${state.page}?download`;
  at("reasons").src = state.page;
  at("reasons").hidden = false;
  at("links").hidden = false;
  at("headline").focus();
}

at("address").textContent = location.origin;
