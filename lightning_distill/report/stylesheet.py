"""How the page looks."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fcfbf9; --ink: #1f2933; --muted: #66727f; --line: #dde2e7; --faint: #eef1f3; --accent: #2a6f97;
  --warn: #fbf1de; --warn-ink: #6b4700; --warn-line: #d9a441; --plate: #fff;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --serif: Charter, "Bitstream Charter", "Iowan Old Style", "Sitka Text", Cambria, Georgia, serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e4e7eb; --muted: #9aa5b1; --line: #323f4b; --faint: #1f262d; --accent: #7fb9d6;
    --warn: #2e2614; --warn-ink: #f1d9a3; --warn-line: #a87b22; --plate: #f4f4f2;
  }
  @media screen { img.drawn { filter: invert(.88) hue-rotate(180deg); } }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); }
main { max-width: 66rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
h1, h2 { font-family: var(--serif); font-weight: 600; line-height: 1.2; text-wrap: balance; overflow-wrap: anywhere; }
h1 { font-size: clamp(1.7rem, 5vw, 2.5rem); margin: 0; letter-spacing: -.01em; }
h2 { font-size: clamp(1.3rem, 3.4vw, 1.65rem); margin: 0 0 .3rem; }
h3 { font-size: .82rem; font-weight: 600; color: var(--muted); margin: 1.6rem 0 .5rem; }
p { margin: .6rem 0; max-width: 46rem; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
.over { margin: 0 0 .4rem; font-size: .75rem; letter-spacing: .09em; text-transform: uppercase; color: var(--muted); }
.date, .about { color: var(--muted); font-size: .9rem; margin-top: .35rem; }
section { margin-top: 3.2rem; padding-top: 1.8rem; border-top: 1px solid var(--line); }
.wide { overflow-x: auto; }
table {
  border-collapse: collapse; width: 100%; margin: .5rem 0 .4rem; font-size: .9rem; line-height: 1.35;
  font-variant-numeric: tabular-nums lining-nums;
}
table.narrow { width: auto; }
.cap { color: var(--muted); font-size: .85rem; margin: 1.4rem 0 0; }
.cap b, figcaption b { color: var(--ink); font-weight: 600; }
th, td { padding: .36rem .8rem; vertical-align: top; text-align: left; font-weight: 400; }
th:first-child { padding-left: .2rem; }
td:last-child, th:last-child { padding-right: .2rem; }
tbody th { min-width: 6.4rem; }
thead th { color: var(--muted); font-size: .78rem; vertical-align: bottom; }
thead tr { border-bottom: 1.5px solid var(--ink); }
tbody tr { border-bottom: 1px solid var(--faint); }
tbody:last-child tr:last-child { border-bottom: 1px solid var(--line); }
.n { text-align: right; white-space: nowrap; }
thead .n { white-space: normal; }
td b { font-weight: inherit; }
td small, th small { display: block; color: var(--muted); font-size: .78rem; }
.best b { font-weight: 700; }
.base th, .base td { color: var(--muted); }
tr.size th { padding-top: 1rem; font-weight: 600; font-size: .82rem; border-bottom: 1px solid var(--line); }
.num { white-space: nowrap; font-variant-numeric: tabular-nums lining-nums; }
.ci { white-space: nowrap; color: var(--muted); font-variant-numeric: tabular-nums lining-nums; }
.row { display: flex; flex-wrap: wrap; gap: 1.4rem 2rem; align-items: flex-start; }
.row figure { flex: 1 1 28rem; }
figure { margin: 1.4rem 0 .4rem; }
img { display: block; max-width: 100%; height: auto; }
.plate .wide { background: var(--plate); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem;
  width: fit-content; max-width: 100%; }
.bands img + img { border-top: 1px solid #d5dbe1; }
figcaption { margin-top: .6rem; color: var(--muted); font-size: .85rem; line-height: 1.45; max-width: 46rem; }
.warning {
  background: var(--warn); color: var(--warn-ink); border-left: 3px solid var(--warn-line);
  padding: .75rem 1rem; border-radius: .2rem; font-size: .92rem;
}
.plain { font-weight: 600; }
dl.card { margin: 1.6rem 0 0; font-size: .87rem; max-width: 60rem; }
dl.card div { display: grid; grid-template-columns: 9.5rem 1fr; gap: .2rem 1rem; padding: .34rem 0; }
dl.card div { border-top: 1px solid var(--faint); }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
ol.made { padding-left: 2.4rem; margin: 0; font-size: .8rem; color: var(--muted); }
ol.made li { padding: .25rem 0 .25rem .3rem; font-variant-numeric: tabular-nums; }
ol.made li:target { background: var(--faint); }
ol.made small { display: block; }
code span { white-space: nowrap; }
code { font-family: var(--mono); font-size: .76rem; line-height: 1.5; color: var(--ink); overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  body { font-size: 15px; }
  table { font-size: .84rem; }
  th, td { padding: .38rem .5rem; }
  dl.card div { grid-template-columns: 1fr; }
  .plate img { max-width: none; }
}
@media print {
  :root {
    --paper: #fff; --ink: #000; --muted: #444; --line: #bbb; --faint: #e2e2e2;
    --warn: #fff; --warn-ink: #000; --plate: #fff;
  }
  @page { margin: 16mm 14mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  section { margin-top: 1.6rem; padding-top: 1rem; }
  h2, h3, .cap, tr.size { break-after: avoid; }
  figure, img, tr, .warning, li { break-inside: avoid; }
  figure.bands { break-inside: auto; }
  .bands .wide { border: 0; padding: 0; }
  thead { display: table-header-group; }
  .wide { overflow: visible; }
  .warning { border: 1px solid #000; border-left-width: 3px; }
  .row figure { flex-basis: 40% !important; }
  table { font-size: 8.5pt; }
  th, td { padding: .25rem .5rem; }
  a { color: inherit; }
}
"""
