// The faults in force, and the buttons that set them.

import { byID, el, get, setText } from './dom.js';

// Faults that wait or judge go together with others. Of those that make the
// answer there is one at a time.
const besides = new Set(['latency', 'token', 'strict', 'partial', 'gzip', 'match', 'count']);

const sameText = (a, b) => JSON.stringify(a) === JSON.stringify(b);

export class Faults {
  #store;
  #buttons = []; // [preset, button]

  constructor(store) {
    this.#store = store;
    this.json = byID('faults-json');
    byID('faults-set').addEventListener('click', () => this.#setJSON());
    byID('faults-clear').addEventListener('click', () => this.clear());
    this.reset = byID('reset');
    this.reset.addEventListener('click', () => this.#reset());
    this.reset.addEventListener('blur', () => this.#sure(false));
    // On a screen with room for it, and where nothing pushes it aside.
    byID('faults').open = matchMedia('(min-width: 700px)').matches;
  }

  async load() {
    const groups = Map.groupBy(await get('/presets'), (p) => p.group);
    for (const [group, presets] of groups) {
      // The last is for who writes a client.
      const open = byID('presets').childElementCount < groups.size - 1;
      byID('presets').append(el('details.group', { open }, el('summary', {}, el('h3', {}, group)),
        el('div.buttons', { role: 'group', 'aria-label': group }, ...presets.map((p) => this.#button(p)))));
    }
    this.draw();
  }

  #button(preset) {
    const says = () => setText(byID('faults-says'), preset.says);
    const button = el('button.fault', { type: 'button', 'aria-pressed': 'false', title: `PUT /faults ${JSON.stringify(preset.faults)}`,
      click: () => this.#press(preset, button), focus: says, mouseenter: says }, preset.name, el('span.hidden', {}, `. ${preset.says}`));
    this.#buttons.push([preset, button]);
    return button;
  }

  #press(preset, button) {
    const faults = { ...this.#store.faults };
    if (button.getAttribute('aria-pressed') === 'true') {
      for (const key of Object.keys(preset.faults)) delete faults[key];
    } else {
      const makesAnswer = Object.keys(preset.faults).some((key) => !besides.has(key));
      if (makesAnswer) for (const key of Object.keys(faults)) if (!besides.has(key)) delete faults[key];
      Object.assign(faults, preset.faults);
    }
    return this.#put(faults);
  }

  /** isOn: all that the preset says is in force, and no other answer. */
  #isOn(preset) {
    const now = this.#store.faults;
    const answer = (faults) => Object.keys(faults).filter((key) => !besides.has(key));
    if (answer(preset.faults).length && answer(now).length !== answer(preset.faults).length) return false;
    return Object.entries(preset.faults).every(([key, value]) => (key === 'token' ? now.token : sameText(now[key], value)));
  }

  #put(faults) {
    return this.#try(() => get('/faults', { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(faults) }));
  }

  clear() { return this.#try(() => get('/faults', { method: 'DELETE' })); }

  #setJSON() {
    let faults;
    try {
      faults = JSON.parse(this.json.value || '{}');
    } catch (error) {
      this.#fail(`This is not JSON: ${error.message}`);
      return;
    }
    this.#put(faults);
  }

  // The second click does it.
  #reset() {
    if (this.reset.dataset.sure) {
      this.#sure(false);
      this.#try(() => get('/events', { method: 'DELETE' }));
    } else {
      this.#sure(true);
    }
  }

  #sure(sure) {
    if (sure) this.reset.dataset.sure = 'yes';
    else delete this.reset.dataset.sure;
    setText(this.reset, sure ? 'Click again to forget all' : 'Empty the sandbox');
  }

  async #try(change) {
    try {
      await change();
      this.#fail('');
    } catch (error) {
      this.#fail(error.message);
    }
  }

  #fail(text) {
    byID('faults-error').hidden = !text;
    setText(byID('faults-error'), text);
  }

  draw() {
    const { faults } = this.#store;
    for (const [preset, button] of this.#buttons) button.setAttribute('aria-pressed', this.#isOn(preset));
    const text = Object.keys(faults).length ? JSON.stringify(faults) : '';
    if (document.activeElement !== this.json) this.json.value = text && JSON.stringify(faults, null, 2);
    setText(byID('faults-state'), text ? 'in force' : 'none');
    byID('faults-state').classList.toggle('on', Boolean(text));
    byID('faults-clear').disabled = !text;
    const banner = byID('banner');
    if (Boolean(text) !== !banner.hidden) banner.hidden = !text;
    if (this.shown !== text) {
      this.shown = text;
      banner.replaceChildren();
      if (text) {
        banner.append(el('span', {}, el('b', {}, 'Faults in force: '), ...this.#buttons.filter(([p]) => this.#isOn(p)).map(([p]) => `${p.says} `), el('code', {}, inWords(faults))),
          el('button', { type: 'button', click: () => this.clear() }, 'Clear'));
      }
    }
  }
}

const inWords = (faults) => Object.entries(faults).map(([key, value]) => (value === true ? key : `${key} ${value}`)).join(', ');
