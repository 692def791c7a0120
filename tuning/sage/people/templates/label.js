let sent = false;
addEventListener("pageshow", () => { sent = false; });
addEventListener("submit", event => { if (sent) event.preventDefault(); sent = true; });
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const pressed = event.key.toLowerCase();
  const button = [...document.querySelectorAll("button[data-key]")].find(one => one.dataset.key === pressed);
  if (button) { event.preventDefault(); button.click(); }
});
