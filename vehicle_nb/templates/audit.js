const earlier = JSON.parse(document.getElementById('earlier').textContent);
const cards = [...document.querySelectorAll('.card')];
function decisions() {
  const rows = new Map(earlier.map(row => [row[0], row]));
  for (const card of cards) {
    const chosen = card.querySelector('input:checked');
    const target = chosen?.value == 'move' ? card.querySelector('select').value : '';
    if (chosen) rows.set(card.dataset.path, [card.dataset.path, chosen.value, target]);
  }
  return [...rows.values()];
}
function count() {
  const n = decisions().length;
  document.getElementById('count').textContent = n == 1 ? '1 decision' : n + ' decisions';
  document.getElementById('save').disabled = !n;
}
document.addEventListener('change', event => {
  const card = event.target.closest('.card');
  for (const twin of cards) if (card && twin != card && twin.dataset.path == card.dataset.path) {  // shown in two sections
    const value = card.querySelector('input:checked')?.value;
    if (value) twin.querySelector(`input[value=${value}]`).checked = true;
    twin.querySelector('select').value = card.querySelector('select').value;
  }
  count();
});
document.getElementById('save').onclick = event => {
  const quote = text => '"' + text.replaceAll('"', '""') + '"';
  const text = [['path', 'decision', 'class'], ...decisions()].map(row => row.map(quote).join(',')).join('\n') + '\n';
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = event.target.dataset.file;
  link.click();
};
count();
