// The table of all entries sorts and filters. Without this script it is there whole.
const entries = new DataTable("#all", {
  autoWidth: false,
  order: [],
  pageLength: 50,
  layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
});

function options(select, values) {
  const names = [...new Set(values)].filter(Boolean);
  names.sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  select.append(new Option("all", ""), ...names.map((name) => new Option(name)));
}

entries.columns("[data-filter]").every(function () {
  const header = this.header();
  const choice = header.dataset.filter === "choice";
  const control = document.createElement(choice ? "select" : "input");
  if (choice) options(control, this.nodes().toArray().map((cell) => cell.textContent));
  else control.type = "search";
  control.id = `filter-${this.index()}`;
  control.addEventListener("input", () => this.search(control.value, { exact: choice && control.value !== "" }).draw());
  const label = document.createElement("label");
  label.append(header.dataset.name, control);
  document.getElementById("filters").append(label);
});
