// Runs before the first paint, so that the page does not flash in another theme. A separate file,
// because the Content-Security-Policy allows no inline script.
try {
  const theme = localStorage.getItem("otel-bridge-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is blocked: use the system's theme.
}
