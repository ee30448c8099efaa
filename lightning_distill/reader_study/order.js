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
  const keyed = [];
  for (const trial of study.trials) {
    const twice = study.repeats.includes(trial.id);
    // the second showing comes in the second half, about a tenth of the study or more after the first
    keyed.push([random() * (twice ? 0.45 : 1), { trial: trial.id, showing: 1, images: sides(trial.images) }]);
    if (twice) keyed.push([0.55 + random() * 0.45, { trial: trial.id, showing: 2, images: sides(trial.images) }]);
  }
  const sorted = (list) => list.sort((a, b) => a[0] - b[0]).map((entry) => entry[1]);
  const practice = sorted(study.practice.map((trial) => [random(), { ...trial, images: sides(trial.images) }]));
  return { plan: sorted(keyed), practice };
}
