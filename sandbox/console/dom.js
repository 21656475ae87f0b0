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

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const calendar = new Intl.DateTimeFormat(undefined, {
  year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});

const dayOf = (date) => date.toDateString();

/** Some timestamps are no dates: a payload may say anything. */
const isDate = (date) => !Number.isNaN(date.getTime());

/** timeText writes a time, with the day unless that is today. */
export function timeText(date) {
  if (!isDate(date)) return '—';
  return dayOf(date) === dayOf(new Date()) ? clock.format(date) : calendar.format(date);
}

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
  if (!isDate(date)) return el('time', {}, text);
  return el('time', { datetime: date.toISOString(), title: calendar.format(date) }, text);
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
