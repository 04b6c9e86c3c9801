/* Keys and buttons, and the beginning. */

const field = $("say");

function send() {
    const text = field.value.trim();
    if (chat.running() || !text)
        return;
    field.value = "";
    kept.set("draft", "");
    chat.grow(field);
    chat.ask(text);
}

$("ask").addEventListener("submit", (e) => {
    e.preventDefault();
    if (chat.running())
        chat.stop();
    else
        send();
    field.focus();
});
field.addEventListener("input", () => {
    chat.grow(field);
    chat.showButtons();
    kept.set("draft", field.value);
});
field.addEventListener("keydown", (e) => {
    if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
        e.preventDefault();
        send();
    } else if (e.key === "ArrowUp" && !field.value && !chat.running()) {
        e.preventDefault();
        chat.editLast();
    }
});
document.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && !document.querySelector("dialog[open]"))
        chat.stop();
});
$("new").addEventListener("click", () => chat.fresh());

/* A click beside a dialog closes it, but for the one that asks for a key. */
for (const dialog of document.querySelectorAll("dialog:not(#key)"))
    dialog.addEventListener("click", (e) => {
        const box = dialog.getBoundingClientRect();
        if (e.target === dialog && (e.clientX < box.left || e.clientX > box.right || e.clientY < box.top || e.clientY > box.bottom))
            dialog.close();
    });

field.value = kept.get("draft", "");
chat.start();
chat.grow(field);
settings.findModels().then(() => {
    documents.start(settings.model);
    meter.look();
});
