// The page: what is where, the address, the keys, and light or dark.

import { byID, code, count, setText } from './dom.js';
import { Detail } from './detail.js';
import { Faults } from './faults.js';
import { List } from './list.js';
import { Requests } from './requests.js';
import { Store } from './store.js';

const store = new Store();
const list = new List(store, () => writeAddress(true));
const detail = new Detail(store, closeIncident);
const requests = new Requests(store);
const faults = new Faults(store);

// The address behind # names the incident, the filter and the view, so that a
// link leads to what its sender saw.

function writeAddress(replace) {
  const parts = new URLSearchParams();
  if (list.selected && chosen) parts.set('incident', list.selected);
  if (list.text) parts.set('text', list.text);
  if (list.statuses.size) parts.set('status', [...list.statuses].join(','));
  if (document.body.dataset.view !== 'incidents') parts.set('view', document.body.dataset.view);
  const address = `#${parts}`;
  if (address === (location.hash || '#')) return;
  if (replace) history.replaceState(null, '', address);
  else history.pushState(null, '', address);
}

function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  setView(parts.get('view') === 'api' ? 'api' : 'incidents');
  chosen ||= parts.has('incident');
  select(Number(parts.get('incident')) || 0);
  list.setFilter(parts.get('text') ?? '', (parts.get('status') ?? '').split(','));
}

function setView(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll('.views button')) button.setAttribute('aria-pressed', button.dataset.view === view);
}

// Until somebody chooses an incident, or none, a demo shows the worst one next to
// the list.
let chosen = false;

function select(id) {
  list.selected = id;
  document.body.classList.toggle('has-incident', Boolean(id) && chosen);
  detail.show(id);
  list.draw();
}

function openIncident(id) {
  setView('incidents');
  chosen = true;
  select(id);
  writeAddress(false);
  byID('detail').scrollTop = 0;
  byID('detail').focus({ preventScroll: true });
  // Where the list makes way for the incident, the page may stand far down.
  if (matchMedia('(max-width: 699px)').matches) scrollTo(0, 0);
}

function closeIncident() {
  const row = list.selected;
  chosen = true;
  document.body.classList.remove('has-incident');
  list.focusSelected();
  if (row) select(0);
  writeAddress(false);
}

byID('list').addEventListener('click', (e) => {
  const link = e.target.closest('a');
  if (!link || e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault();
  openIncident(Number(link.dataset.id));
});

for (const button of document.querySelectorAll('.views button')) {
  button.addEventListener('click', () => {
    setView(button.dataset.view);
    writeAddress(false);
  });
}

document.addEventListener('keydown', (e) => {
  if (e.altKey || e.ctrlKey || e.metaKey) return;
  const typing = e.target.closest('input, textarea');
  if (e.key === '/' && !typing) {
    e.preventDefault();
    setView('incidents');
    if (matchMedia('(max-width: 699px)').matches && list.selected) closeIncident();
    list.input.focus();
    list.input.select();
  } else if (e.key === 'Escape') {
    if (e.target === list.input && list.input.value) return; // empties itself
    e.preventDefault();
    closeIncident();
  }
});

// Light or dark: as the system has it, until the user chooses.

const dark = matchMedia('(prefers-color-scheme: dark)');
const themes = { auto: '◐ Auto', light: '○ Light', dark: '● Dark' };

function setTheme(theme) {
  const known = theme in themes ? theme : 'auto';
  document.documentElement.dataset.theme = known === 'auto' ? (dark.matches ? 'dark' : 'light') : known;
  const button = byID('theme');
  button.dataset.theme = known;
  setText(button, themes[known]);
  button.setAttribute('aria-label', `Theme: ${known}`);
  try {
    localStorage.setItem('theme', known);
  } catch {
    // the browser keeps nothing for us: then it is for this visit
  }
}

function keptTheme() {
  try {
    return localStorage.getItem('theme');
  } catch {
    return 'auto';
  }
}

byID('theme').addEventListener('click', () => {
  const names = Object.keys(themes);
  setTheme(names[(names.indexOf(byID('theme').dataset.theme) + 1) % names.length]);
});
dark.addEventListener('change', () => setTheme(byID('theme').dataset.theme));
setTheme(keptTheme());

// The lines to copy, with this sandbox's own address.

function writeGuide() {
  const api = `${location.origin}/data/v2/alerts`;
  const token = store.needsToken ? 'YOUR_TOKEN' : 'any';
  const texts = {
    send: `BIGPANDA_URL=${api} BIGPANDA_TOKEN=${token} \\\n  bigpanda-udf send --app-key test`,
    curl: `curl ${api} \\\n  -H 'Authorization: Bearer ${token}' -H 'Content-Type: application/json' \\\n`
      + '  -d \'{"app_key": "test", "status": "critical", "host": "web-1",\n      "check": "CPU", "description": "CPU is at 97 %"}\'',
    conf: `[udf.functions.bigpanda.env]\n  BIGPANDA_URL = "${api}"\n  BIGPANDA_TOKEN = "${token}"\n  BIGPANDA_APP_KEY = "test"`,
    demo: 'bigpanda-udf demo --keep',
  };
  for (const node of document.querySelectorAll('.copyable')) node.replaceChildren(code(texts[node.dataset.text], 'To copy'));
}

// What a screen reader is told, no more often than it can be listened to.

let lastSaid = 0;
let saying = 0;

function say() {
  const { totals } = list;
  const parts = Object.entries(totals ?? {}).filter(([, n]) => n).map(([status, n]) => `${n} ${status}`);
  setText(byID('summary'), `${count(store.incidents.size, 'incident')}${parts.length ? `: ${parts.join(', ')}` : ''}`);
  lastSaid = performance.now();
  saying = 0;
}

let guideFor = null;

store.onChange((changed) => {
  document.body.classList.toggle('is-empty', store.ready && !store.incidents.size);
  setText(byID('connection'), store.live ? 'Live' : 'Not connected: trying again …');
  byID('connection').classList.toggle('off', !store.live);
  if (changed.size || store.ready) list.draw();
  if (store.demo && !chosen && list.worst !== list.selected) select(list.worst);
  byID('run-demo').hidden = store.demo;
  requests.draw();
  faults.draw();
  detail.changed(changed);
  if (store.ready && guideFor !== store.needsToken) {
    guideFor = store.needsToken;
    writeGuide();
  }
  if (!saying) saying = setTimeout(say, Math.max(0, 3000 - (performance.now() - lastSaid)));
});

addEventListener('popstate', readAddress);
addEventListener('hashchange', readAddress);
readAddress();
writeGuide();
store.connect();
faults.load().catch((error) => setText(byID('connection'), error.message));
