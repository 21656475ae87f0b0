// One incident: timeline, tags, events.

import { ago, byID, count, el, flappingTag, get, labelled, linked, name, ofSeconds, pill, setText, syncRows, time, timeText } from './dom.js';
import { alertItem } from './alerts.js';
import { isFlapping } from './store.js';
import { timeline } from './timeline.js';

export class Detail {
  #store;
  #close;
  #id = 0;
  #asking = false;
  #stale = false; // something has come since it was asked for
  #page = null;
  #events = new Map(); // by seq
  #rows = new Map(); // of them
  #before = null; // where older events begin, 0: there are none

  /** close is called when the user wants back to the list. */
  constructor(store, close) {
    this.#store = store;
    this.#close = close;
    this.node = byID('incident');
    new ResizeObserver(() => { if (this.#page) this.#drawPicture(); }).observe(this.node);
    setInterval(() => { if (this.#page) this.#drawHead(); }, 5000);
  }

  /** show shows an incident, 0 for none. */
  show(id) {
    if (id === this.#id) return;
    this.#id = id;
    this.#page = null;
    this.#events.clear();
    this.#rows.clear();
    this.#before = null;
    this.node.hidden = !id;
    byID('guide').hidden = Boolean(id);
    byID('detail').setAttribute('aria-labelledby', id ? 'detail-title' : 'guide-title');
    this.node.replaceChildren();
    if (id) this.refresh();
  }

  /** changed is told the ids of incidents that are no longer as they were. */
  changed(ids) {
    if (this.#id && (ids.has(this.#id) || !this.node.hasChildNodes())) this.refresh();
  }

  async refresh() {
    if (!this.#store.ready) return; // it is told when that is
    if (!this.#store.incidents.has(this.#id)) {
      this.#gone();
      return;
    }
    this.#stale = true;
    if (this.#asking) return;
    this.#asking = true;
    while (this.#stale) {
      this.#stale = false;
      const id = this.#id;
      try {
        const page = await get(`/incidents/${id}`);
        if (id === this.#id) this.#draw(page);
      } catch {
        if (id === this.#id) this.#gone(); // just now
      }
    }
    this.#asking = false;
  }

  #gone() {
    this.#page = null;
    this.node.replaceChildren(this.#back(), el('h2', { id: 'detail-title' }, 'This incident is not there'),
      el('p', {}, 'The sandbox was emptied or started anew, or has given the incident up for newer ones.'));
  }

  #back() {
    return el('button.back', { type: 'button', click: this.#close }, '← Incidents');
  }

  #draw(page) {
    const first = !this.#page;
    this.#page = page;
    if (first) {
      this.head = el('div.incident-head');
      this.picture = el('div.picture');
      this.tags = el('tbody');
      this.eventList = el('ol.alerts', { 'aria-label': 'Events, newest first' });
      this.moreEvents = el('div');
      this.eventsTitle = el('h3', {}, 'Events');
      this.node.replaceChildren(this.#back(), this.head, this.picture,
        el('h3', {}, 'Tags'),
        el('table.tags', {}, el('thead.hidden', {}, el('tr', {}, el('th', { scope: 'col' }, 'Tag'), el('th', { scope: 'col' }, 'Value'))), this.tags),
        this.eventsTitle, this.eventList, this.moreEvents);
    }
    this.#drawHead();
    this.tags.replaceChildren(...page.tags.map((tag) => el('tr', {}, el('th', { scope: 'row' }, name(tag.name)),
      el('td', {}, ...tag.values.flatMap((v, i) => [i ? ' | ' : null, el('bdi', {}, linked(v))]),
        tag.name === 'timestamp' ? el('span.faint', {}, ` ${timeText(ofSeconds(tag.values[0]))}`) : null))));
    this.#drawEvents();
  }

  #drawHead() {
    const p = this.#page;
    const description = p.tags.find((t) => t.name === 'description')?.values.join(' | ');
    this.head.replaceChildren(
      el('h2', { id: 'detail-title' }, name(p.title)),
      p.subtitle ? el('p.subtitle', {}, name(p.subtitle)) : '',
      el('p.row', {}, pill(p.status), isFlapping(p) ? flappingTag() : null,
        labelled('since', time(ofSeconds(p.since)), ` (${ago(p.since)})`), labelled('app key', name(p.app_key))),
      description ? el('p.description', {}, name(description)) : '',
      el('p.faint', {}, `${count(p.events, 'event')}, ${count(p.changes, 'change')} of status`));
    this.#drawPicture();
  }

  #drawPicture() {
    const p = this.#page;
    const steps = p.timeline;
    // What is over ends where it was resolved, with a little of the calm after.
    const now = Math.floor(Date.now() / 1000);
    const length = steps.at(-1).at - steps[0].at;
    const until = p.status === 'ok' ? Math.min(now, steps.at(-1).at + Math.max(length / 8, 10)) : now;
    this.picture.replaceChildren(timeline(p.title, steps, until, this.picture.clientWidth));
    if (p.changes >= steps.length) this.picture.append(el('p.faint', {}, `The newest ${steps.length} of ${p.changes + 1} statuses.`));
  }

  #drawEvents() {
    // All that was ever asked for stays, so that nothing falls out of sight
    // between the newest events and older ones.
    for (const alert of this.#page.alert_list) this.#events.set(alert.seq, alert);
    const newestFirst = [...this.#events.values()].sort((a, b) => b.seq - a.seq);
    syncRows(this.eventList, this.#rows, newestFirst, 'seq', (alert) => alertItem(alert, { open: !this.#rows.size }));
    if (this.#before === null) this.#before = this.#page.before ?? 0;
    setText(this.eventsTitle, this.#events.size < this.#page.events ? `Events (${this.#events.size.toLocaleString('en')} shown)` : 'Events');
    this.moreEvents.replaceChildren();
    if (this.#before) this.moreEvents.append(el('button', { type: 'button', click: () => this.#askOlder() }, 'Show older events'));
    else if (this.#events.size < this.#page.events) this.moreEvents.append(el('p.faint', {}, 'Others are no longer kept, or came too fast to be shown.'));
  }

  async #askOlder() {
    const id = this.#id;
    const page = await get(`/incidents/${id}?before=${this.#before}&limit=200`);
    if (id !== this.#id) return;
    for (const alert of page.alert_list) this.#events.set(alert.seq, alert);
    this.#before = page.before ?? 0;
    this.#drawEvents();
  }
}
