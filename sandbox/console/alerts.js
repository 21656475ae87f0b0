// Alerts as they were sent: payload, and what the documentation has against it.

import { code, count, el, labelled, name, ofSeconds, pill, time } from './dom.js';

/** problemList shows problems, each with what comes of it and who says so. */
export function problemList(problems) {
  return el('ul.problems', { 'aria-label': 'Problems' }, ...problems.map((p) => el(`li${/refused|dropped/.test(p.outcome) ? '.bad' : ''}`, {},
    el('b', {}, sentence(p.text)), ' ', el('span.outcome', {}, `${sentence(p.outcome)}.`),
    p.page ? el('span.page', { title: 'The page of BigPanda’s documentation that says so' }, ` ${p.page}`) : null)));
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** flagsOf names what BigPanda does not use of an event. */
function flagsOf(alert) {
  return [alert.duplicate && 'duplicate', alert.stale && 'stale', alert.dropped && 'dropped'].filter(Boolean);
}

/** alertItem shows an alert, folded; its payload is made when it is opened. */
export function alertItem(alert, { open = false, heading = '' } = {}) {
  const payload = el('div');
  const problems = alert.problems.length;
  const summary = el('summary', {},
    alert.status ? pill(alert.status) : el('span.pill.is-refused', {}, 'not taken'),
    heading ? name(heading, '.title') : null,
    ...(alert.received ? [labelled('point', time(ofSeconds(alert.timestamp))), labelled('request', time(new Date(alert.received)))] : []),
    ...flagsOf(alert).map((flag) => el('span.tag', {}, flag)),
    problems ? el('span.warn', {}, count(problems, 'problem')) : null);
  const details = el('details.alert', { open }, summary, payload);
  const fill = () => {
    if (!details.open || payload.hasChildNodes()) return;
    if (problems) payload.append(problemList(alert.problems));
    payload.append(code(alert.text, 'Payload'));
  };
  details.addEventListener('toggle', fill);
  fill();
  return el('li', {}, details);
}
