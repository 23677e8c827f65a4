// Runs before the first paint: the kept choice of dark or light wins over the system's.
try {
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch {
  // storage is off: the system's choice stands
}
