// The stream of requests to the API.

import { alertItem, problemList } from './alerts.js';
import { byID, code, count, el, get, labelled, name, pill, setText, syncRows, time } from './dom.js';

export class Requests {
  #store;
  #rows = new Map(); // by seq

  constructor(store) {
    this.#store = store;
    this.list = byID('requests');
  }

  draw() {
    const { requests, stats } = this.#store;
    syncRows(this.list, this.#rows, requests, 'seq', requestRow);
    byID('requests-none').hidden = requests.length > 0;
    const waiting = stats.waiting ? `, ${count(stats.waiting, 'waits', 'wait')} for an answer` : '';
    const newest = requests.length < stats.requests ? `the newest ${requests.length} of ` : '';
    setText(byID('requests-count'), stats.requests || stats.waiting ? `${newest}${count(stats.requests, 'request')}${waiting}` : '');
  }
}

/** kindOf tells good answers from bad ones, and from none. */
const kindOf = (status) => (status > 0 && status < 300 ? 'good' : 'bad');

function tookText(nanoseconds) {
  const ms = nanoseconds / 1e6;
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 1) return `${Math.round(nanoseconds / 1e3)} µs`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

/** wordsOf says in words what an answer does not say by itself. */
function wordsOf(q) {
  const words = [];
  if (q.reason) words.push(q.reason);
  if (q.reason && q.accepted) words.push(`${count(q.accepted, 'alert')} taken all the same`);
  if (q.dropped) words.push(`BigPanda drops ${q.dropped === q.alerts ? 'it' : q.dropped}: no primary property`);
  if (q.duplicates) words.push(q.duplicates === q.alerts ? 'a duplicate' : `${count(q.duplicates, 'duplicate')}`);
  return words.join('; ');
}

/** carriedBy names the alerts of a request, whether they were taken or not. */
function carriedBy(q) {
  const named = q.carried ?? [];
  return el('span.carried', {},
    q.alerts === 1 ? null : el('span', {}, q.alerts ? count(q.alerts, 'alert') : 'no alert'),
    ...named.map((alert) => el('span', {}, alert.status ? pill(alert.status) : el('span.tag', {}, 'no status'), ' ', name(alert.title ?? 'no primary property'))),
    q.alerts > named.length ? el('span', {}, `and ${(q.alerts - named.length).toLocaleString('en')} more`) : null,
    q.app_key ? labelled('app key', name(q.app_key)) : null);
}

function requestRow(q) {
  const body = el('div.request-body');
  const words = wordsOf(q);
  const details = el('details', {},
    el('summary', {},
      time(new Date(q.received)),
      el(`span.answer.is-${kindOf(q.status)}`, {}, q.status ? String(q.status) : 'no answer'),
      el('span.took', {}, tookText(q.took_ns)),
      carriedBy(q),
      words ? el('span.reason', {}, words) : null),
    body);
  details.addEventListener('toggle', () => { if (details.open && !body.hasChildNodes()) fill(body, q); });
  return el('li', {}, details);
}

async function fill(body, q) {
  try {
    const page = await get(`/requests/${q.seq}`);
    const facts = [`${page.method} ${page.path}`, `${page.bytes.toLocaleString('en')} bytes`, page.app_key && `app key ${page.app_key}`,
      page.user_agent, page.retry_after && `Retry-After: ${page.retry_after}`, page.fault && `by the fault ${page.fault}`];
    body.replaceChildren(el('p.faint', {}, facts.filter(Boolean).join(' · ')));
    if (page.problems.length) body.append(problemList(page.problems));
    const list = page.alert_list;
    if (list.length) {
      body.append(el('ol.alerts', {}, ...list.slice(0, 100).map((alert) => alertItem(alert, { open: list.length === 1, heading: alert.title }))));
      if (list.length > 100) body.append(el('p.faint', {}, `The first 100 of ${list.length}.`));
    } else if (page.body) {
      body.append(code(page.body, 'Beginning of the body'));
      if (page.bytes > page.body.length) body.append(el('p.faint', {}, 'This is the beginning of the body.'));
    }
  } catch (error) {
    body.replaceChildren(el('p.error', {}, error.message));
  }
}
