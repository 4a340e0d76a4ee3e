"""How a report looks: on screens of any width, light and dark, and on paper."""

CSS = """
:root { color-scheme: light dark; --page: #fff; --text: #1b1f24; --soft: #59636e; --line: #d8dee4; --panel: #f6f8fa;
  --bar: #2f6fb2; --rest: #b26a2f; --bad: #b3261e; --bad-panel: #fdf1f0; --note: #8a5a00; --note-panel: #fdf6e7; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --text: #e4e7ea; --soft: #9aa4ae; --line: #353b42;
  --panel: #1d2125; --bar: #6aa9e9; --rest: #e0a06a; --bad: #ff8f86; --bad-panel: #2d1b1a; --note: #e8b85a;
  --note-panel: #2a2313; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.5rem 4rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Open Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .1rem 0 .4rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
p { margin: .3rem 0; max-width: 52rem; }
code { font: .92em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
p:not(.folder) code, h3 code { background: var(--panel); border-radius: 4px; padding: .05em .3em; }
.failure p code, .failure h3 code, p.notice code { background: none; padding: 0; }
.name, .message, td, dd, .folder { overflow-wrap: anywhere; }
.soft, figcaption, caption { color: var(--soft); }
.bad { color: var(--bad); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0 0; }
a { color: var(--bar); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin: 1.4rem 0 0; }
.figures > div { background: var(--panel); border-radius: 8px; padding: .6rem .9rem; }
.figures dt { color: var(--soft); font-size: .87rem; }
.figures dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.figures small { display: block; font-weight: 400; font-size: .87rem; color: var(--soft); }
.failure, .notice { border-left: 4px solid var(--bad); background: var(--bad-panel); border-radius: 0 8px 8px 0;
  padding: .7rem 1rem; margin: .7rem 0; }
.notice { border-color: var(--note); background: var(--note-panel); }
.message { white-space: pre-wrap; }
.names { margin: .4rem 0 0; padding-left: 1.2rem; columns: 22rem; }
.names li { break-inside: avoid; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1.4rem 2rem; }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figcaption { font-size: .9rem; }
svg { display: block; overflow: visible; }
svg text { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); }
.axis { stroke: var(--soft); }
.bar { fill: var(--bar); }
.rest { fill: var(--rest); }
details { margin-top: .3rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--soft); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(46%, 11rem), 1fr)); gap: 1rem;
  padding: 0; margin: .8rem 0 0; list-style: none; }
.pictures img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--panel);
  border-radius: 6px; }
.pictures figcaption { line-height: 1.35; margin-top: .3rem; }
.pictures .name { display: block; color: var(--text); }
.wide { overflow-x: auto; }
.scroll { overflow: auto; max-height: 40rem; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .3rem 0; }
.scroll .wide { overflow: visible; }
.scroll caption { padding: .5rem .7rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem; border-top: 1px solid var(--line);
  font-weight: 400; }
thead th { color: var(--soft); border-top: 0; white-space: nowrap; }
.scroll thead th { position: sticky; top: 0; background: var(--panel); }
tbody th { overflow-wrap: anywhere; min-width: 8rem; }
.scroll tbody th { min-width: 11rem; width: 30%; }
#warnings ~ .wide tbody th { min-width: 7rem; width: 20%; }
.number { text-align: right; }
.warn { color: var(--note); }
.pairs { columns: 22rem; column-gap: 2.5rem; margin: 0 0 1.4rem; }
.pairs > div { display: flex; gap: 1rem; justify-content: space-between; border-bottom: 1px solid var(--line);
  padding: .2rem 0; break-inside: avoid; }
.pairs dt { color: var(--soft); }
.pairs dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
#origin ~ .wide { margin-bottom: 1.4rem; }
#origin ~ .wide caption { color: var(--text); font-weight: 700; }
@media (max-width: 30rem) { body { padding: 1rem 1rem 3rem; } h1 { font-size: 1.5rem; }
  .figures { grid-template-columns: 1fr 1fr; } th, td { padding: .3rem .5rem; }
  thead th { white-space: normal; } }
@media print { :root { color-scheme: light; --page: #fff; --text: #000; --soft: #444; --line: #bbb; --panel: #f4f4f4;
  --bar: #2f6fb2; --rest: #b26a2f; --bad: #b3261e; --bad-panel: #fff; --note: #8a5a00; --note-panel: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; } nav, details { display: none; }
  .scroll { overflow: visible; max-height: none; border: 0; } .scroll thead th { position: static; }
  .pictures { grid-template-columns: repeat(6, 1fr); } h2 { break-after: avoid; }
  tr, li, .failure { break-inside: avoid; }
  * { print-color-adjust: exact; } }
"""
