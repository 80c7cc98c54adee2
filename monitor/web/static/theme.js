// Runs before the page is drawn, so that it does not flash in the other theme.
(() => {
  const root = document.documentElement;
  const kinds = ["auto", "light", "dark"];
  const read = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is forbidden: the system's theme it is
    }
  };
  const apply = (kind) => {
    if (kind === "auto") delete root.dataset.theme;
    else root.dataset.theme = kind;
    root.dispatchEvent(new Event("themechange"));
  };
  let kind = kinds.includes(read()) ? read() : "auto";
  apply(kind);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("button.theme");
    if (!button) return;
    const show = () => {
      button.querySelector("span").textContent = kind;
    };
    show();
    button.hidden = false;
    button.addEventListener("click", () => {
      kind = kinds[(kinds.indexOf(kind) + 1) % kinds.length];
      try {
        localStorage.setItem("theme", kind);
      } catch {
        // it holds for this page only
      }
      apply(kind);
      show();
    });
  });
})();
