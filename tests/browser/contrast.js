// Returns how far texts differ from what is behind them: (lighter + 0.05) / (darker + 0.05), by selector.
() => {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => { probe.clearRect(0, 0, 1, 1); probe.fillStyle = color; probe.fillRect(0, 0, 1, 1); return [...probe.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => { for (let at = node; at; at = at.parentElement) { const c = rgb(getComputedStyle(at).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
  const found = {};
  for (const which of [".name", ".verdict", "h1", "#count", ".time", ".row.log .text", ".row.message .text", ".row.bad .text", ".row.bad em", "#head span span", "footer", "a", ".again"]) {
    const node = document.querySelector(which);
    if (!node) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    found[which] = (a + 0.05) / (b + 0.05);
  }
  return found;
}
