// The list of incidents: filter, window, keys.

import { ago, byID, count, el, flappingTag, ofSeconds, pill, setText, statusWords, syncRows, time, visible } from './dom.js';
import { isFlapping } from './store.js';

// How many rows are there at once. The others are a button away, so that ten
// thousand incidents cost no more than these.
const pageSize = 100;

export class List {
  text = '';
  statuses = new Set(); // empty: all
  selected = 0; // id

  #store;
  #onFilter;
  #shown = pageSize;
  #rows = new Map(); // by id: of what is on the page
  #found = []; // incidents, worst first, then newest change first

  /** onFilter is called when the user has changed the filter. */
  constructor(store, onFilter) {
    this.#store = store;
    this.#onFilter = onFilter;
    this.list = byID('list');
    this.input = byID('filter');
    this.input.addEventListener('input', () => this.#filtered(() => { this.text = this.input.value; }));
    this.input.addEventListener('keydown', (e) => {
      if (e.key === 'ArrowDown' || e.key === 'Enter') {
        e.preventDefault();
        this.#focusRow(this.list.firstElementChild);
      }
    });
    this.chips = new Map(statusWords.map((status) => [status, this.#chip(status)]));
    byID('statuses').append(...this.chips.values());
    byID('more').addEventListener('click', () => this.#more());
    this.list.addEventListener('keydown', (e) => this.#key(e));
    this.list.addEventListener('focusin', (e) => this.#rove(e.target.closest('a')));
    setInterval(() => this.#tellTime(), 5000);
  }

  /** setFilter is for an address that holds a filter. */
  setFilter(text, statuses) {
    this.text = text;
    this.statuses = new Set(statuses.filter((s) => statusWords.includes(s)));
    if (this.input.value !== text) this.input.value = text;
    this.#shown = pageSize;
    this.draw();
  }

  #chip(status) {
    return el(`button.chip.is-${status}`, {
      type: 'button', 'aria-pressed': 'false', click: () => this.#filtered(() => {
        if (!this.statuses.delete(status)) this.statuses.add(status);
      }),
    }, el('span.dot', { 'aria-hidden': 'true' }), el('span', {}, status), el('b', {}, '0'));
  }

  #filtered(change) {
    change();
    this.#shown = pageSize;
    this.draw();
    this.#onFilter();
  }

  /** draw brings the list up to date. */
  draw() {
    const totals = Object.fromEntries(statusWords.map((s) => [s, 0]));
    const words = this.text.trim().toLowerCase().split(/\s+/).filter(Boolean);
    this.#found = [];
    for (const incident of this.#store.incidents.values()) {
      totals[incident.status]++;
      const statusFits = !this.statuses.size || this.statuses.has(incident.status);
      if (statusFits && words.every((w) => incident.words.includes(w))) this.#found.push(incident);
    }
    const rank = (incident) => statusWords.indexOf(incident.status);
    this.#found.sort((a, b) => rank(a) - rank(b) || b.since - a.since || b.last_change - a.last_change);
    for (const [status, chip] of this.chips) {
      chip.setAttribute('aria-pressed', this.statuses.has(status));
      setText(chip.lastChild, totals[status].toLocaleString('en'));
    }
    this.#drawRows();
    this.#drawWords(totals);
  }

  #drawRows() {
    const page = this.#found.slice(0, this.#shown);
    syncRows(this.list, this.#rows, page, 'id', (incident) => new Row(incident).node);
    for (const incident of page) this.#rows.get(incident.id).of.draw(incident, incident.id === this.selected);
    this.#rove(this.list.querySelector('a[tabindex="0"]') ?? this.list.querySelector('a'));
    const left = this.#found.length - page.length;
    const more = byID('more');
    more.hidden = left <= 0;
    if (left > 0) setText(more, `Show ${Math.min(left, pageSize)} more of ${left.toLocaleString('en')}`);
  }

  #drawWords(totals) {
    const { incidents, stats, keepIncidents, ready } = this.#store;
    const some = this.#found.length < incidents.size;
    setText(byID('count'), some ? `${this.#found.length.toLocaleString('en')} of ${count(incidents.size, 'incident')}` : '');
    const none = byID('none');
    none.hidden = this.#found.length > 0;
    if (!ready) setText(none, 'Loading…');
    else setText(none, incidents.size ? 'No incident fits the filter.' : 'No incident yet. Send an alert, and it is here at once.');
    const dropped = byID('dropped');
    dropped.hidden = !stats.incidents_dropped;
    if (stats.incidents_dropped) {
      setText(dropped, `${count(stats.incidents_dropped, 'older incident')} left out: the sandbox keeps ${keepIncidents.toLocaleString('en')}, `
        + 'and the oldest resolved ones go first.');
    }
    document.title = totals.critical ? `(${totals.critical}) BigPanda sandbox` : 'BigPanda sandbox';
    this.totals = totals;
  }

  /** worst is the id of the first incident in the list, 0 for none. */
  get worst() { return this.#found[0]?.id ?? 0; }

  #more() {
    const first = this.#shown;
    this.#shown += pageSize;
    this.#drawRows();
    this.#focusRow(this.list.children[first]);
  }

  #tellTime() {
    for (const row of this.#rows.values()) row.of.tellTime();
  }

  #rove(link) {
    if (!link) return;
    for (const other of this.list.querySelectorAll('a[tabindex="0"]')) if (other !== link) other.tabIndex = -1;
    link.tabIndex = 0;
  }

  #focusRow(row) { row?.querySelector('a')?.focus(); }

  #key(e) {
    const row = e.target.closest('li');
    const to = {
      ArrowDown: () => row.nextElementSibling, ArrowUp: () => row.previousElementSibling,
      Home: () => this.list.firstElementChild, End: () => this.list.lastElementChild,
    }[e.key];
    if (!row || !to || e.altKey || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    const next = to();
    if (next) this.#focusRow(next);
    else if (e.key === 'ArrowUp') this.input.focus();
    else if (!byID('more').hidden) this.#more();
  }

  /** focusSelected goes back to the row of the incident that was open. */
  focusSelected() {
    const row = this.#rows.get(this.selected) ?? this.list.firstElementChild;
    if (row) this.#focusRow(row);
    else this.input.focus();
  }
}

/** Row is an incident in the list: its names, and under them what it is like. */
class Row {
  constructor(incident) {
    this.title = el('bdi.title');
    this.subtitle = el('bdi.subtitle');
    this.names = el('span.names', {}, this.title, ' ', this.subtitle);
    this.status = el('span');
    this.flapping = flappingTag();
    this.since = el('span');
    this.events = el('span');
    this.link = el('a', { tabindex: '-1', href: `#incident=${incident.id}`, 'data-id': incident.id }, this.names,
      this.status, this.flapping, el('span.facts', {}, this.since, ' · ', this.events));
    this.node = el('li', {}, this.link);
    this.node.of = this;
  }

  draw(incident, selected) {
    if (this.incident !== incident) {
      if (this.incident?.status !== incident.status) {
        this.link.className = `is-${incident.status}`;
        this.status.replaceChildren(pill(incident.status));
      }
      setText(this.title, visible(incident.title));
      setText(this.subtitle, incident.subtitle ?? '');
      // Of a name that is too long for its lines, the rest.
      this.names.title = [incident.title, incident.subtitle].filter(Boolean).join(' ');
      setText(this.events, count(incident.events, 'event'));
      this.incident = incident;
      this.tellTime();
    }
    if (selected) this.link.setAttribute('aria-current', 'true');
    else this.link.removeAttribute('aria-current');
  }

  tellTime() {
    this.flapping.hidden = !isFlapping(this.incident);
    const text = ago(this.incident.since);
    if (this.since.textContent !== text) this.since.replaceChildren(time(ofSeconds(this.incident.since), text));
  }
}
