"use strict";
const search = document.getElementById("search"), trouble = document.getElementById("trouble");
const rows = [...document.querySelectorAll("tbody tr")];
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = (trouble.checked && !row.querySelector("td.bad")) || !words.every((word) => text.includes(word));
  }
  document.getElementById("count").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} scenarios`;
}
search.addEventListener("input", filter);
trouble.addEventListener("change", filter);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== search) { event.preventDefault(); search.focus(); }
  if (event.key === "Escape") search.blur();
});
filter();
