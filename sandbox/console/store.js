// What the page knows of the sandbox, kept up to date by server-sent events.

// How many requests are kept here. The sandbox has more: GET /requests.
const keepRequests = 200;

/** Store is told by the sandbox and tells the page, once for all that came
 * until the next picture is drawn. */
export class Store {
  incidents = new Map(); // by id
  requests = []; // newest first
  stats = {};
  faults = {};
  keepIncidents = 0;
  needsToken = false;
  demo = false;
  live = false;
  ready = false; // the first update has come

  #listeners = [];
  #drawn = true;
  #changed = new Set(); // ids of incidents, for the next picture

  /** onChange calls f with the ids of the incidents that changed or went. */
  onChange(f) { this.#listeners.push(f); }

  connect() {
    const source = new EventSource('/live');
    source.onopen = () => this.#set({ live: true });
    source.onerror = () => {
      this.#set({ live: false });
      // The browser comes back by itself, but not after an answer that is an
      // error.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 2000);
    };
    source.onmessage = (message) => this.#apply(JSON.parse(message.data));
  }

  #set(values) {
    Object.assign(this, values);
    this.#draw();
  }

  #apply(update) {
    if (update.reset) {
      for (const id of this.incidents.keys()) this.#changed.add(id);
      this.incidents.clear();
      this.requests = [];
    }
    for (const id of update.gone ?? []) {
      this.incidents.delete(id);
      this.#changed.add(id);
    }
    for (const incident of update.incidents ?? []) {
      incident.words = [incident.title, incident.subtitle, incident.status, incident.app_key].join('\n').toLowerCase();
      this.incidents.set(incident.id, incident);
      this.#changed.add(incident.id);
    }
    if (update.requests) this.requests = [...update.requests.reverse(), ...this.requests].slice(0, keepRequests);
    this.#set({
      stats: update.stats, faults: update.faults, keepIncidents: update.keep_incidents, needsToken: update.needs_token,
      demo: Boolean(update.demo), ready: true,
    });
  }

  #draw() {
    if (!this.#drawn) return;
    this.#drawn = false;
    // A page that nobody sees gets no pictures, but its title is seen: then a
    // second has to do.
    const picture = () => {
      if (this.#drawn) return;
      this.#drawn = true;
      clearTimeout(unseen);
      const changed = this.#changed;
      this.#changed = new Set();
      for (const f of this.#listeners) f(changed);
    };
    const unseen = setTimeout(picture, 1000);
    requestAnimationFrame(picture);
  }
}

/** isFlapping: more than four changes in an hour. */
export const isFlapping = (incident) => (incident.flapping_until ?? 0) > Date.now() / 1000;
