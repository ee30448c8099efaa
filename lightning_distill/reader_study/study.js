(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const element = (id) => document.getElementById(id);
  const pairs = study.design === "pairs";
  const things = pairs ? "pair" : "image";
  const COLUMNS = ["study", "trials", "reader", "position", "trial", "showing", "answer", "confidence", "seconds", "zoom"];
  const state = { reader: "", practised: 0, answers: [], plan: [], practice: [], choice: null, waiting: false, shownAt: 0,
    zoom: 0, unsaved: false, stored: true, stage: "start" };

  // Storage: answers are kept in the browser after each one; where that fails, the page says so.

  const place = () => `reader-study/${study.study}/${state.reader}`;

  function save() {
    state.unsaved = true;
    try {
      localStorage.setItem(place(), JSON.stringify({ practised: state.practised, answers: state.answers }));
    } catch {
      state.stored = false;
    }
    warnOfStorage();
  }

  function load() {
    state.answers = [];
    state.practised = 0;
    try {
      const saved = JSON.parse(localStorage.getItem(place()) ?? "null");
      const fits = saved?.answers?.every((one, i) => one.trial === state.plan[i]?.trial && one.showing === state.plan[i].showing);
      if (fits) [state.answers, state.practised] = [saved.answers, Number(saved.practised) || 0];
      else if (saved) notify("Earlier answers in this browser are damaged and were left out.");
    } catch (error) {
      if (error instanceof SyntaxError) notify("Earlier answers in this browser are damaged and were left out.");
      else state.stored = false;
    }
    warnOfStorage();
  }

  function warnOfStorage() {
    if (!state.stored) {
      notify("This browser keeps no answers of a page that is opened from a file. Answer in one go, and download your "
        + "answers before you close the page: they are lost otherwise.");
    }
  }

  function notify(text) {
    element("notice").textContent = text;
    element("notice").hidden = false;
  }

  // Pages

  function show(stage) {
    state.stage = stage;
    for (const name of ["start", "trial", "end"]) element(name).hidden = name !== stage;
    element("progress-box").hidden = stage === "start";
    element("download").disabled = !state.answers.length;
  }

  const practising = () => state.practised < state.practice.length && !state.answers.length;
  const current = () => (practising() ? state.practice[state.practised] : state.plan[state.answers.length]);

  function next(focus = false) {
    state.choice = null;
    state.waiting = false;
    const trial = current();
    show(trial ? "trial" : "end");
    progress();
    if (!trial) return element("finish").focus();
    element("question").textContent = pairs ? "Which image is synthetic?" : "Real or synthetic?";
    element("feedback").textContent = "";
    element("next").hidden = true;
    element("undo").disabled = practising() || !state.answers.length;
    draw(trial.images);
    mark();
    if (focus) element("trial").focus({ preventScroll: true });
    state.shownAt = performance.now();
  }

  function progress() {
    const [done, total] = practising() ? [state.practised, state.practice.length] : [state.answers.length, state.plan.length];
    const name = practising() ? `Practice ${things}` : things[0].toUpperCase() + things.slice(1);
    element("progress-text").textContent = done < total ? `${name} ${done + 1} of ${total}` : `${total} of ${total}`;
    element("progress").max = total;
    element("progress").value = done;
  }

  function draw(images) {
    const sides = ["Left image", "Right image"];
    element("images").replaceChildren(...images.map((id, i) => {
      const image = new Image();
      image.alt = pairs ? sides[i] : "Image to judge";
      image.src = study.images[id];
      return image;
    }));
    resize();
  }

  function resize() {
    // whole numbers of device pixels for each pixel: squares of one size, nothing is interpolated
    const [height, width] = study.size;
    const count = pairs ? 2 : 1;
    const room = Math.min(element("trial").clientWidth / count - 16 * (count - 1), 448 / Math.max(1, height / width));
    const scale = Math.min(room / width, Math.max(160, innerHeight - 440) / height);
    const ratio = window.devicePixelRatio || 1;
    state.zoom = Math.max(1, Math.floor(scale * ratio));
    for (const image of element("images").children) {
      image.style.width = `${(width * state.zoom) / ratio}px`;
      image.style.height = `${(height * state.zoom) / ratio}px`;
    }
  }

  function mark() {
    for (const button of element("choices").children) {
      if (!pairs) button.setAttribute("aria-pressed", String(button.dataset.answer === state.choice));
      button.disabled = state.waiting;
    }
    for (const button of document.querySelectorAll("[data-level]")) button.disabled = state.choice === null || state.waiting;
  }

  // Answers

  function choose(answer) {
    if (state.waiting) return;
    if (pairs) return record(current().images[answer], 0);
    state.choice = answer;
    mark();
  }

  function rate(level) {
    if (!state.waiting && state.choice !== null) record(state.choice, level);
  }

  function record(answer, confidence) {
    if (practising()) return feedback(answer);
    const { trial, showing } = current();
    const seconds = Math.round((performance.now() - state.shownAt) / 100) / 10;
    state.answers.push({ trial, showing, answer, confidence, seconds, zoom: state.zoom });
    save();
    say("");
    next();
  }

  function feedback(answer) {
    const trial = current();
    const right = answer === trial.answer;
    const truth = pairs ? `the ${["left", "right"][trial.images.indexOf(trial.answer)]} image is synthetic` : `this image is ${trial.answer}`;
    element("feedback").className = right ? "right" : "wrong";
    element("feedback").textContent = `${right ? "Right" : "No"}: ${truth}.`;
    element("next").hidden = false;
    state.waiting = true;
    mark();
    element("next").focus();
  }

  function proceed() {
    state.practised += 1;
    if (state.practised === state.practice.length) say("Practice is over. From now on your answers count.");
    save();
    next(true);
  }

  function undo() {
    if (state.stage === "start" || practising() || !state.answers.length) return;
    if (state.choice !== null) {
      state.choice = null;
      return mark();
    }
    state.answers.pop();
    save();
    next(true);
    say("The last answer was taken back.");
  }

  function say(text) {
    element("status").textContent = text;
  }

  function download() {
    if (!state.answers.length) return;
    const rows = state.answers.map((one, i) => [study.study, study.trials.length, state.reader, i + 1, one.trial, one.showing,
      one.answer, pairs ? "" : one.confidence, one.seconds, one.zoom].join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${[COLUMNS.join(","), ...rows].join("\n")}\n`], { type: "text/csv" }));
    link.download = `reader-study_${study.study.slice(0, 8)}_${state.reader}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    state.unsaved = false;
    say(`${state.answers.length} of ${state.plan.length} answers are in ${link.download}.`);
  }

  // Events

  function selectReader() {
    state.reader = element("reader").value;
    element("begin").disabled = !state.reader;
    if (!state.reader) return;
    Object.assign(state, readerOrder(study, state.reader));
    load();
    const done = state.answers.length;
    const total = state.plan.length;
    const where = done === total ? "To the download" : `Go on at ${things} ${done + 1} of ${total}`;
    element("begin").firstChild.textContent = done ? `${where} ` : "Begin ";
    element("download").disabled = !done;
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const digit = event.code.match(/^(?:Digit|Numpad)([1-5])$/); // also where digits need the shift key
    const key = digit ? digit[1] : event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (state.stage === "start") {
      if (key === "Enter" && event.target.tagName !== "BUTTON" && state.reader) begin();
      return;
    }
    const actions = { d: download, Backspace: undo };
    if (state.stage === "trial") {
      if (pairs) Object.assign(actions, { ArrowLeft: () => choose(0), ArrowRight: () => choose(1) });
      else Object.assign(actions, { r: () => choose("real"), s: () => choose("synthetic") });
      for (const level of pairs ? [] : [1, 2, 3, 4, 5]) actions[level] = () => rate(level);
      if (state.waiting && event.target.tagName !== "BUTTON") actions.Enter = proceed;
    }
    if (actions[key]) {
      event.preventDefault();
      actions[key]();
    }
  }

  function begin() {
    say("");
    next(true);
  }

  const whole = study.trials.length === study.stated
    && [...study.trials, ...study.practice].every((trial) => trial.images.every((id) => study.images[id]));
  if (!whole) {
    notify(`This page is damaged: it states ${study.stated} ${things}s and shows others. Ask for the page again.`);
    element("start").hidden = true;
    return;
  }
  element("reader").addEventListener("change", selectReader);
  element("begin").addEventListener("click", begin);
  element("download").addEventListener("click", download);
  element("finish").addEventListener("click", download);
  element("next").addEventListener("click", proceed);
  element("undo").addEventListener("click", undo);
  for (const button of element("choices").children) {
    button.addEventListener("click", () => choose(pairs ? Number(button.dataset.answer) : button.dataset.answer));
  }
  for (const button of document.querySelectorAll("[data-level]")) button.addEventListener("click", () => rate(Number(button.dataset.level)));
  document.addEventListener("keydown", onKey);
  window.addEventListener("resize", resize);
  window.addEventListener("beforeunload", (event) => {
    if (!state.stored && state.unsaved && state.answers.length) event.preventDefault();
  });
  if (study.readers.length === 1) element("reader").value = study.readers[0];
  selectReader(); // browsers keep the choice of a reloaded page
  element("reader").focus();
})();
