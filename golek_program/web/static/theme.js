// Light or dark? What the system says, until the reader says otherwise.

const STORED = "golek.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function chosen() {
  return localStorage.getItem(STORED) ?? (system.matches ? "dark" : "light");
}

function show() {
  document.documentElement.dataset.theme = chosen();
}

show();
system.addEventListener("change", show);
addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  button.addEventListener("click", () => {
    localStorage.setItem(STORED, chosen() === "dark" ? "light" : "dark");
    show();
  });
});
