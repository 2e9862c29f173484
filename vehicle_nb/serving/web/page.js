// What Streamlit has no widget for: pictures and addresses from the clipboard, and the language of the page for screen readers.
export default function ({ data, setTriggerValue }) {
  document.documentElement.lang = data.language;

  const put = (files) => { // into the upload field, so that they go the way of all uploads, with all its limits
    const input = document.querySelector("[data-testid=stFileUploaderDropzoneInput]");
    if (!input) return;
    const box = new DataTransfer();
    for (const file of files) box.items.add(new File([file], file.name, { type: file.type }));
    input.files = box.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const paste = (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) {
      event.preventDefault();
      put(files);
    } else if (!event.target.closest?.("input, textarea")) { // a field takes its text itself
      const text = event.clipboardData?.getData("text").trim() ?? "";
      if (/^https?:\/\/\S+$/i.test(text)) setTriggerValue("address", text);
    }
  };

  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
