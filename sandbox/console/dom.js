// What the other scripts make the page of. Data becomes text nodes and
// attributes only, so that nothing in a payload is ever read as HTML.

/** el makes an element: el('a.link', {href: '#'}, 'text', child, …). */
export function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(' ');
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value !== undefined && value !== null) node.setAttribute(key, value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** setText changes a node's text only if it is another: a screen reader would
 * read it again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const byID = (id) => document.getElementById(id);

/** statusWords are BigPanda's statuses, the one first that needs somebody most. */
export const statusWords = ['critical', 'warning', 'unknown', 'acknowledged', 'ok'];

/** pill shows a status as a text with a colour. */
export const pill = (status) => el(`span.pill.is-${statusWords.includes(status) ? status : 'unknown'}`, {}, status);

// Swedish writes 2026-11-28 09:12:48 CET, as ISO 8601 does but for the zone.
const clock = new Intl.DateTimeFormat('sv-SE', { dateStyle: 'short', timeStyle: 'long' });

/** Some timestamps are no dates: a payload may say anything. */
const isDate = (date) => !Number.isNaN(date.getTime());

/** timeText writes a time with its date and zone. */
export const timeText = (date) => (isDate(date) ? clock.format(date) : '—');

/** ofSeconds makes a date of Unix seconds. */
export const ofSeconds = (seconds) => new Date(seconds * 1000);

/** span writes a length of time, given in seconds. */
export function span(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min${s % 60 && s < 600 ? ` ${s % 60} s` : ''}`;
  if (s < 86400) return `${Math.floor(s / 3600)} h${Math.floor((s % 3600) / 60) ? ` ${Math.floor((s % 3600) / 60)} min` : ''}`;
  return `${Math.floor(s / 86400)} d`;
}

/** ago says how long ago a time in Unix seconds was. */
export function ago(seconds) {
  const passed = Date.now() / 1000 - seconds;
  if (passed < -1) return `in ${span(-passed)}`;
  if (passed >= 60 && passed < 3600) return `${Math.floor(passed / 60)} min ago`;
  return passed < 2 ? 'now' : `${span(passed)} ago`;
}

/** time makes a <time> of a date. */
export function time(date, text = timeText(date)) {
  return el('time', isDate(date) ? { datetime: date.toISOString(), title: timeText(date) } : {}, text);
}

/** labelled puts a word before what it names. */
export const labelled = (word, ...what) => el('span.labelled', {}, el('span.faint', {}, `${word} `), ...what);

/** visible returns a text, or says that there is nothing to see in it. */
export const visible = (text) => (/[^\s\p{C}]/u.test(text) ? text : '(blank)');

/** name shows a text that somebody chose: its direction is its own, and it
 * cannot turn what is next to it. */
export const name = (text, kind = '') => el(`bdi${kind}`, {}, visible(text));

/** flappingTag marks an incident with more than four changes in an hour. */
export const flappingTag = () => el('span.flapping', { title: 'over four changes in an hour' }, 'flapping');

/** syncRows has a list show a row for each of items, in their order. Rows are kept
 * by their items' key, so that what is open or has the focus stays so. */
export function syncRows(list, rows, items, key, make) {
  const wanted = new Set(items.map((item) => item[key]));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    if (row.contains(document.activeElement)) (row.nextElementSibling ?? row.previousElementSibling)?.querySelector('a, summary').focus();
    row.remove();
    rows.delete(id);
  }
  const focused = document.activeElement;
  let at = list.firstElementChild;
  for (const item of items) {
    if (!rows.has(item[key])) rows.set(item[key], make(item));
    const row = rows.get(item[key]);
    if (at && row === at.nextElementSibling) { // at belongs further down: one move, not all of the others
      list.append(at);
      at = row;
    }
    if (row === at) at = at.nextElementSibling;
    else list.insertBefore(row, at);
  }
  // Moving a row takes its focus away.
  if (document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** count writes a number with its noun. */
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

/** linked returns a text, as a link to a new page if it is a web address. */
export function linked(text) {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) return document.createTextNode(text);
  return el('a', { href: text, target: '_blank', rel: 'noopener noreferrer' }, text);
}

/** copyButton makes a button that copies what text() returns. */
export function copyButton(text, label = 'Copy') {
  const button = el('button.copy', { type: 'button' }, label);
  button.addEventListener('click', async () => {
    const done = await copy(text());
    button.textContent = done ? 'Copied' : 'Select it and copy by hand';
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

// The clipboard is there on loopback and over HTTPS only; elsewhere a text area
// has to do.
async function copy(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not allowed: try the other way
    }
  }
  const focused = document.activeElement;
  const area = el('textarea.hidden', { 'aria-hidden': 'true', tabindex: '-1' });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return done;
}

/** code shows a text as it is, with a button that copies it. */
export function code(text, label) {
  return el('div.code', {}, el('pre', { tabindex: '0', 'aria-label': label }, text), copyButton(() => text));
}

/** get asks the sandbox for JSON. Its error is the sandbox's sentence. */
export async function get(path, options) {
  const answer = await fetch(path, options);
  const body = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(body?.error ?? `${answer.status}`);
  return body;
}
