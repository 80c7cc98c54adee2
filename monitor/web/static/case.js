// Puts in what takes seconds; the page that waits for it is readable meanwhile.
const box = document.querySelector("#case[data-from]");

// What an address or a point on the map names may lie in a part that is still closed.
function show() {
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  if (!wanted) return;
  const closed = wanted.closest("details:not([open])");
  if (closed) closed.open = true;
  wanted.scrollIntoView();
}

async function load() {
  const waiting = box.querySelector(".waiting");
  const began = Date.now();
  const clock = setInterval(() => {
    waiting.textContent = `Looking for slices, exchanges and what is new in them … ${Math.round((Date.now() - began) / 1000)} s`;
  }, 1000);
  try {
    const answer = await fetch(box.dataset.from, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`the monitor answered ${answer.status}`);
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    box.replaceChildren(...parsed.body.childNodes);
    box.removeAttribute("aria-busy");
    show();
  } catch (problem) {
    waiting.textContent = `The rest could not be loaded: ${problem.message}. Load the page again.`;
    waiting.classList.replace("waiting", "warning");
    box.removeAttribute("aria-busy");
  } finally {
    clearInterval(clock);
  }
}

if (box) load();
else show();
addEventListener("hashchange", show);
