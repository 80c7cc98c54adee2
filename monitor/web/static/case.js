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

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// Its points are one stop of the keyboard, and those who hear the page meet one of them at a time:
// hundreds of links would be in everybody's way. The last one drawn adds most, and comes first.
function openMap() {
  const map = document.querySelector(".map svg");
  if (!map) return;
  const dots = [...map.querySelectorAll("a")];
  const spots = dots.map((dot) => dot.querySelector("circle"));
  const places = spots.map((spot) => [spot.cx.baseVal.value, spot.cy.baseVal.value]);
  const figure = map.parentElement; // that listens: a picture that did would be a stop by itself
  const caption = figure.querySelector("figcaption");
  const said = caption.textContent;
  const ring = map.appendChild(spots[0].cloneNode());
  const last = dots.length - 1;
  let here = last;

  function nearest([right, down]) {
    let found = here;
    let least = Infinity;
    places.forEach(([x, y], i) => {
      const [dx, dy] = [x - places[here][0], y - places[here][1]];
      const along = dx * right + dy * down;
      if (along <= 0 || along < Math.abs(dx * down + dy * right)) return;
      if (Math.hypot(dx, dy) < least) [found, least] = [i, Math.hypot(dx, dy)];
    });
    return found;
  }

  function stand(at) {
    dots[at].removeAttribute("aria-hidden");
    dots[at].setAttribute("tabindex", 0);
    if (at === here) return;
    dots[here].setAttribute("aria-hidden", true);
    dots[here].setAttribute("tabindex", -1);
    here = at;
  }

  map.removeAttribute("aria-hidden");
  map.setAttribute("role", "application");
  map.setAttribute("aria-label", map.dataset.said);
  dots.forEach((dot) => dot.setAttribute("aria-hidden", true));
  stand(last);
  ring.setAttribute("class", "ring");

  figure.addEventListener("focusin", (event) => {
    stand(dots.indexOf(event.target));
    for (const side of ["cx", "cy"]) ring.setAttribute(side, spots[here].getAttribute(side));
    caption.textContent = dots[here].textContent;
  });
  figure.addEventListener("focusout", () => { caption.textContent = said; });
  figure.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const step = { PageUp: here + 1, PageDown: here - 1, Home: last, End: 0 }[event.key];
    const to = event.key in ARROWS ? nearest(ARROWS[event.key]) : step;
    if (to === undefined) return;
    event.preventDefault(); // the page would scroll
    const next = Math.min(Math.max(to, 0), last);
    dots[next].removeAttribute("aria-hidden"); // before it is told of
    dots[next].focus();
  });
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
    openMap();
    show();
  } catch (problem) {
    failed(waiting, problem);
  } finally {
    clearInterval(clock);
    box.removeAttribute("aria-busy");
  }
}

if (box) {
  load();
} else {
  openMap();
  show();
}
addEventListener("hashchange", show);
