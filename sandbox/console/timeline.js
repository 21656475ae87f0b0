// The picture of an incident's status over time.

import { ofSeconds, span, statusWords, timeText } from './dom.js';

const svgNamespace = 'http://www.w3.org/2000/svg';
const left = 98; // for the names of the statuses
const right = 12;
const rowHeight = 22;

function svg(name, attributes, ...children) {
  const node = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** timeline draws the steps [{at, status}], oldest first, up to a time in Unix
 * seconds, so many pixels wide. Statuses that never came have no row. */
export function timeline(title, steps, until, room) {
  const width = Math.max(room, 280);
  const used = statusWords.filter((status) => status === 'ok' || steps.some((s) => s.status === status));
  const begin = steps[0].at;
  const end = Math.max(until, steps.at(-1).at + 1, begin + 1);
  const x = (at) => left + ((at - begin) / (end - begin)) * (width - left - right);
  const y = (status) => used.indexOf(status) * rowHeight + rowHeight / 2 + 4;
  const bottom = used.length * rowHeight + 8;

  const picture = svg('svg', { viewBox: `0 0 ${width} ${bottom + 41}`, width, height: bottom + 41, role: 'img', class: 'timeline', 'aria-labelledby': 'tl-title tl-desc' });
  const name = svg('title', { id: 'tl-title' }, `Status of ${title} over time`);
  picture.append(name, svg('desc', { id: 'tl-desc' }, inWords(steps, end)));

  for (const status of used) {
    picture.append(
      svg('text', { x: left - 10, y: y(status) + 4, 'text-anchor': 'end', class: 'status' }, status),
      svg('line', { x1: left, x2: width - right, y1: y(status), y2: y(status), class: 'grid' }),
    );
  }
  let line = '';
  const bars = svg('g', {});
  picture.append(bars);
  steps.forEach((step, i) => {
    const from = x(step.at);
    const to = x(steps[i + 1]?.at ?? end);
    line += `${i ? 'V' : `M${from} `}${y(step.status)}H${to}`;
    bars.append(svg('rect', {
      x: from, y: y(step.status) - 6, width: Math.max(to - from, 2), height: 12, rx: 2, class: `bar is-${step.status}`,
    }, svg('title', {}, `${step.status} from ${timeText(ofSeconds(step.at))} for ${span((steps[i + 1]?.at ?? end) - step.at)}`)));
  });
  bars.before(svg('path', { d: line, class: 'path' }));
  const ticks = [[begin, 'start'], [(begin + end) / 2, 'middle'], [end, 'end']];
  if (width < 480) ticks.splice(1, 1); // no room for the one in the middle
  for (const [at, anchor] of ticks) {
    picture.append(svg('line', { x1: x(at), x2: x(at), y1: bottom, y2: bottom + 5, class: 'grid' }));
    const [date, ...clock] = timeText(ofSeconds(at)).split(' ');
    for (const [i, text] of [clock.join(' '), date].entries()) {
      picture.append(svg('text', { x: x(at), y: bottom + 19 + 15 * i, 'text-anchor': anchor, class: 'tick' }, text));
    }
  }
  return picture;
}

/** inWords says what the picture shows. */
function inWords(steps, end) {
  const shown = steps.slice(-20);
  const said = shown.map((step, i) => {
    const next = shown[i + 1];
    return `${step.status} ${next ? `from ${timeText(ofSeconds(step.at))} for ${span(next.at - step.at)}`
      : `since ${timeText(ofSeconds(step.at))}, for ${span(end - step.at)}`}`;
  });
  return `${steps.length > shown.length ? `The last ${shown.length} of ${steps.length}: ` : ''}${said.join('; ')}.`;
}
