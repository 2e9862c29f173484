const find = id => document.getElementById(id);
const { earlier, classes } = JSON.parse(find('data').textContent);
const state = new Map(earlier.map(([path, decision, target]) => [path, [decision, target]]));
const cards = [...document.querySelectorAll('.card')];
const done = [];  // to take back: card, and its decision before
let at = -1, saved = true;

function targets(card) {  // all classes, listed only where they are asked for: many cards times many classes are slow
  const select = card.querySelector('select'), chosen = select.value;
  select.replaceChildren(...classes.filter(name => name != card.dataset.folder).map(name => new Option(name, name, false, name == chosen)));
  return select;
}
function show(path) {
  const [decision, target] = state.get(path) ?? ['', ''];
  for (const card of cards.filter(card => card.dataset.path == path)) {  // it may stand in two sections
    for (const input of card.querySelectorAll('input')) input.checked = input.value == decision;
    card.classList.toggle('decided', !!decision);
    if (decision == 'move') targets(card).value = target;
  }
}
function count() {
  const left = cards.filter(card => !state.has(card.dataset.path)).length;
  find('count').textContent = state.size == 1 ? '1 decision' : state.size + ' decisions';
  find('left').textContent = left == 1 ? '1 image left' : left + ' images left';
  find('save').disabled = !state.size;
}
function set(card, decision) {
  const path = card.dataset.path;
  decision ? state.set(path, decision) : state.delete(path);
  saved = false;
  show(path);
  count();
  find('said').textContent = path + ': ' + (decision?.join(' ').trim() ?? 'no decision');
}
function decide(card, decision) {
  if (!card) return;
  done.push([card, state.get(card.dataset.path)]);
  const target = decision == 'move' ? targets(card).value : '';
  set(card, decision && [decision, target]);
}
function go(number) {
  if (!cards.length) return;
  at = Math.max(0, Math.min(number, cards.length - 1));
  cards[at].focus({ preventScroll: true });
  cards[at].scrollIntoView({ block: 'center' });
}
function answer(decision) {
  if (at < 0) return go(0);
  if (decision == 'move' && !cards[at].querySelector('select').value) return choose();
  decide(cards[at], decision);
  if (decision) go(at + 1);
}
function undo() {
  const [card, before] = done.pop() ?? [];
  if (!card) return;
  set(card, before);
  go(cards.indexOf(card));
}
function choose() {  // another class than the one suggested
  if (at < 0) return go(0);
  decide(cards[at], 'move');
  cards[at].querySelector('select').focus();
}
function next() {  // the next image without a decision
  const open = cards.findIndex((card, i) => i > at && !state.has(card.dataset.path));
  go(open < 0 ? cards.findIndex(card => !state.has(card.dataset.path)) : open);
}
function save() {
  const quote = text => '"' + text.replaceAll('"', '""') + '"';
  const rows = [...state].map(([path, decision]) => [path, ...decision]);
  const text = [['path', 'decision', 'class'], ...rows].map(row => row.map(quote).join(',')).join('\n') + '\n';
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = find('save').dataset.file;
  link.click();
  saved = true;
}
const keys = {
  j: () => go(at + 1), k: () => go(at - 1), n: next, y: () => answer('keep'), m: () => answer('move'), c: choose,
  d: () => answer('drop'), x: () => answer(undefined), u: undo, s: () => state.size && save(), '?': () => find('help').showModal(),
};
document.addEventListener('keydown', event => {
  const inside = event.target.closest('.card'), field = event.target.closest('select, input');
  if (event.altKey || find('help').open) return;
  let act = event.ctrlKey || event.metaKey ? event.key == 'z' && undo : find('shortcuts').checked && keys[event.key];
  if (inside && event.key.startsWith('Arrow')) act = { ArrowRight: keys.j, ArrowLeft: keys.k }[event.key];
  if (field) act = event.key == 'Enter' ? keys.j : field.matches('input') && !event.key.startsWith('Arrow') && act;
  if (!act) return;
  event.preventDefault();
  act();
});
document.addEventListener('focusin', event => {
  const card = event.target.closest('.card');
  if (card) at = cards.indexOf(card);
});
document.addEventListener('change', event => {
  const card = event.target.closest('.card');
  if (card) decide(card, card.querySelector('input:checked')?.value);
});
find('save').onclick = save;
find('keys').onclick = keys['?'];
window.onbeforeunload = event => saved || event.preventDefault();
for (const path of new Set(cards.map(card => card.dataset.path))) if (state.has(path)) show(path);
count();
