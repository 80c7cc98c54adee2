// Puts in what takes seconds; the page that waits for it is readable meanwhile.
const box = document.querySelector("#case[data-from]");
const told = document.querySelector("#told");

// What an address or a point on the map names may lie in a part that is still closed.
function show() {
  const wanted = location.hash && document.getElementById(location.hash.slice(1));
  if (!wanted) return;
  const closed = wanted.closest("details:not([open])");
  if (closed) closed.open = true;
  wanted.scrollIntoView();
}

// What stands at the place of something in the box after that was put in anew.
function again(old) {
  const same = (it) =>
    it.getAttribute("href") === old.getAttribute("href") && it.ariaLabel === old.ariaLabel;
  return [...box.querySelectorAll(old.tagName)].find(same);
}

// Nobody who reads or tabs through the part that is replaced is to lose their place.
function putIn(nodes) {
  const focused = box.contains(document.activeElement) ? document.activeElement : null;
  const anchor = () => box.querySelector("#signals")?.getBoundingClientRect().top ?? 0;
  const before = anchor();
  box.replaceChildren(...nodes);
  if (focused) (again(focused) ?? document.querySelector("#main")).focus({ preventScroll: true });
  if (scrollY > 0) scrollBy({ top: anchor() - before, behavior: "instant" });
}

function failed(waiting, problem) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Try again";
  button.addEventListener("click", () => {
    waiting.className = "waiting";
    waiting.textContent = waiting.dataset.said;
    load();
  });
  waiting.className = "warning";
  waiting.textContent = `The rest could not be loaded: ${problem.message}. `;
  waiting.append(button);
  told.textContent = "Slices and exchanges could not be loaded.";
}

async function load() {
  const waiting = box.querySelector(".waiting");
  waiting.dataset.said ??= waiting.textContent;
  const began = Date.now();
  const clock = setInterval(() => {
    waiting.textContent = `${waiting.dataset.said} ${Math.round((Date.now() - began) / 1000)} s`;
  }, 1000);
  box.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(box.dataset.from, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(`the monitor answered ${answer.status}`);
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    putIn(parsed.body.childNodes);
    told.textContent = box.dataset.done;
    show();
  } catch (problem) {
    failed(waiting, problem);
  } finally {
    clearInterval(clock);
    box.removeAttribute("aria-busy");
  }
}

if (box) load();
else show();
addEventListener("hashchange", show);
