// What Streamlit has no widget for: the page's language, names for its own buttons, the clipboard, and a word after a reload.
let first = true;

export default function ({ data, setTriggerValue }) {
  document.documentElement.lang = data.query.lang;
  const here = new URL(location); // what a reload or a friend needs to see the same page
  for (const [name, value] of Object.entries(data.query)) here.searchParams.set(name, value);
  if (here.href !== location.href) history.replaceState(history.state, "", here);

  const field = () => [...document.querySelectorAll("[data-testid=stFileUploaderDropzoneInput]:not([webkitdirectory])")].at(-1);
  const touch = matchMedia("(pointer: coarse)").matches;
  const name = (selector, text) => document.querySelectorAll(selector).forEach((e) => {
    if (e.getAttribute("aria-label") !== text) e.setAttribute("aria-label", text);
  });
  const label = () => { // what is accepted is only an offer of the file dialog: every file is judged by its bytes
    document.querySelectorAll("[role=presentation][aria-label]").forEach((e) => e.setAttribute("role", "group")); // it has a name
    name("[data-testid=stFileUploaderDropzone] button", touch ? data.texts.photo : data.texts.choose);
    name("[data-testid=stCameraInputButton]", data.texts.shoot);
    const input = field();
    if (input) input.accept = touch ? "image/*" : "image/*,.zip";
  };
  label();
  const watcher = new MutationObserver(label);
  watcher.observe(document.body, { childList: true, subtree: true });

  if (first && !data.images && sessionStorage.getItem("images") > 0) setTriggerValue("lost", true);
  first = false;
  sessionStorage.setItem("images", data.images);

  const paste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])], input = field();
    if (files.length && input) { // into the upload field, so that they go the way of all uploads, with all its limits
      event.preventDefault();
      const box = new DataTransfer();
      for (const file of files) box.items.add(new File([file], file.name, { type: file.type }));
      input.files = box.files;
      input.dispatchEvent(new Event("change", { bubbles: true }));
    } else if (input && !event.target.closest?.("input, textarea")) { // a text field takes its text itself
      const text = event.clipboardData?.getData("text").trim() ?? "";
      if (/^https?:\/\/\S+$/i.test(text)) setTriggerValue("address", text);
    }
  };
  document.addEventListener("paste", paste);
  return () => { document.removeEventListener("paste", paste); watcher.disconnect(); };
}
