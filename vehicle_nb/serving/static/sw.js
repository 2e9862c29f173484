// Keeps the whole page in the browser, so that it works without a network. vehicle_export fills in both lines; each export has
// a version of its own, and the old one is thrown away.
const VERSION = "%VERSION%";
const FILES = %FILES%;

const NAME = `${registration.scope} ${VERSION}`;

addEventListener("install", (event) => {
  const fresh = FILES.map((file) => new Request(file, { cache: "no-cache" })); // the browser's own store may be older
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(fresh)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  const old = (name) => name.startsWith(`${registration.scope} `) && name !== NAME; // other pages of this host keep theirs
  const clear = (names) => Promise.all(names.filter(old).map((name) => caches.delete(name)));
  event.waitUntil(caches.keys().then(clear).then(() => clients.claim()));
});

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || new URL(event.request.url).origin !== location.origin) return;
  const kept = caches.open(NAME).then((cache) => cache.match(event.request, { ignoreSearch: true }));
  event.respondWith(kept.then((answer) => answer ?? fetch(event.request)));
});
