"use strict";
// Order of the trials: a random stream of study and reader code, so that a reader always sees one order, and others another.

function randomStream(text) {
  let seed = 2166136261;
  for (const letter of text) seed = Math.imul(seed ^ letter.codePointAt(0), 16777619);
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let value = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4294967296;
  };
}

function readerOrder(study, reader) {
  const random = randomStream(`${study.study}/${reader}`);
  const sides = (images) => (random() < 0.5 ? [...images] : [...images].reverse());
  const shuffled = (list) =>
    list.map((entry) => [random(), entry]).sort((a, b) => a[0] - b[0]).map((entry) => entry[1]);
  const show = (showing) => (trial) => ({ trial: trial.id, showing, images: sides(trial.images) });
  const twice = study.trials.filter((trial) => study.repeats.includes(trial.id));
  const once = shuffled(study.trials.filter((trial) => !study.repeats.includes(trial.id)));
  // first showings, a fifth of the other trials, second showings: no image follows itself
  const [start, end] = [0.4, 0.6].map((share) => Math.round(share * once.length));
  const early = shuffled([...twice, ...once.slice(0, start)].map(show(1)));
  const between = once.slice(start, end).map(show(1));
  const late = shuffled([...twice.map(show(2)), ...once.slice(end).map(show(1))]);
  const before = [...early, ...between].pop();
  if (before && late.length > 1 && late[0].trial === before.trial) late.push(late.shift());
  const practice = shuffled(study.practice).map((trial) => ({ ...trial, images: sides(trial.images) }));
  return { plan: [...early, ...between, ...late], practice };
}
