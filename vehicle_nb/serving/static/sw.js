// Keeps the whole page in the browser, so that it works without a network. vehicle_export fills in both lines; each export has
// a version of its own, and the old one is thrown away.
const VERSION = "%VERSION%";
const FILES = %FILES%;

const NAME = `${registration.scope} ${VERSION}`;

addEventListener("install", (event) => {
  const fresh = FILES.map((file) => new Request(file, { cache: "no-cache" })); // not from the browser's own store, which may be older
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(fresh)).then(() => skipWaiting()));
});

addEventListener("activate", (event) => {
  const old = (name) => name.startsWith(`${registration.scope} `) && name !== NAME; // other pages of this host keep theirs
  event.waitUntil(caches.keys().then((names) => Promise.all(names.filter(old).map((name) => caches.delete(name)))).then(() => clients.claim()));
});

addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || new URL(event.request.url).origin !== location.origin) return;
  event.respondWith(caches.open(NAME).then((cache) => cache.match(event.request, { ignoreSearch: true })).then((kept) => kept ?? fetch(event.request)));
});
