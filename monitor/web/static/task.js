// Follows work that takes minutes, without loading the page again under whoever reads it.
const PAUSE_MS = 2000;
const told = document.querySelector("#told");

async function look() {
  const box = document.querySelector("#task[data-running]");
  if (!box) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
    const news = parsed.querySelector("#task");
    if (news) {
      box.replaceWith(news);
      if (!("running" in news.dataset)) told.textContent = news.dataset.said;
    } else if (answer.status === 401) {
      told.className = "warning";
      told.textContent = "Your session has ended. Load the page again.";
      return;
    }
  } catch {
    // the monitor is away for a moment
  }
  setTimeout(look, PAUSE_MS);
}

setTimeout(look, PAUSE_MS);
