const at = (id) => document.getElementById(id);
const answers = [];
const person = Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function checksum(text) {  // CRC-32, as zlib has it
  let sum = -1;
  for (const letter of text) {
    sum ^= letter.charCodeAt(0);
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ((sum ^ -1) >>> 0).toString(16).padStart(8, "0");
}

function show() {
  const isDone = answers.length === IMAGES.length;
  at("asking").hidden = isDone;
  at("done").hidden = !isDone;
  at("back").disabled = answers.length === 0;
  if (isDone) {
    const begin = [FORM, PAGE, person, answers.join("")].join(".");
    at("line").value = begin + "." + checksum(begin);
    at("copy").textContent = "copy";
    return;
  }
  at("progress").textContent = `Image ${answers.length + 1} of ${IMAGES.length}`;
  at("shown").src = IMAGES[answers.length];
  at("shown").alt = `Image ${answers.length + 1}`;
}

function answer(letter) {
  if (answers.length < IMAGES.length) answers.push(letter);
  show();
}

function back() {
  answers.pop();
  show();
}

async function copy() {
  at("line").select();
  let isCopied = true;
  try {
    await navigator.clipboard.writeText(at("line").value);
  } catch {  // a page from a file may not be allowed to
    isCopied = document.execCommand("copy");
  }
  at("copy").textContent = isCopied ? "copied" : "not copied: mark the line";
}

for (const button of document.querySelectorAll("[data-answer]")) {
  button.addEventListener("click", () => answer(button.dataset.answer));
}
at("back").addEventListener("click", back);
at("again").addEventListener("click", back);
at("copy").addEventListener("click", copy);
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[0-9x]$/i.test(event.key) && answers.length < IMAGES.length) answer(event.key.toLowerCase());
  else if (event.key === "Backspace" || event.key === "ArrowLeft") back();
  else return;
  event.preventDefault();
});
window.addEventListener("beforeunload", (event) => {
  if (answers.length > 0 && answers.length < IMAGES.length) event.preventDefault();
});
show();
