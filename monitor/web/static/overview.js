// Finds while one types; without script the form asks the server for the same.
const form = document.querySelector("form.controls");
const rows = [...document.querySelectorAll("table.streams tbody tr[data-name]")];
const summary = document.querySelector("p.summary");
if (form && summary) {
  const field = form.elements.namedItem("q");
  const said = summary.textContent;
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    summary.textContent = wanted ? `Shown: ${shown} of ${rows.length}.` : said;
  });
}
