/* Chats that are kept in this browser: each under a name of its own, and the list of them, that which was talked in last first.
 * Every tab is in one of them. Where the browser has no more room, the oldest go. */

const chats = (() => {
    const TITLE = 60;
    let id = "";

    const name = (c) => "chat." + c;
    const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

    /* What is stored may have been written by anybody. */
    const list = (value) => Array.isArray(value) ? value : [];
    const all = () => list(kept.get("chats", [])).filter((c) => c && typeof c.id === "string" && typeof c.title === "string");
    const messagesOf = (c) => list(kept.get(name(c), [])).filter((m) => m && (m.role === "user" || m.role === "assistant") && typeof m.content === "string");

    /* Its first question. */
    function titleOf(messages) {
        const first = messages.find((m) => m.role === "user"), letters = [...(first ? first.content : "").trim().split("\n", 1)[0].replace(/\s+/g, " ")];
        return letters.length > TITLE ? letters.slice(0, TITLE - 1).join("").trimEnd() + "\u2026" : letters.join("") || "Chat";
    }

    const entryOf = (which, messages) => ({id: which, title: titleOf(messages), at: Date.now(), n: messages.length});

    /* ---- keeping ---- */

    function be(which) {
        id = which;
        try {
            sessionStorage.setItem("kvrun.chat", id);
        } catch { /* then a reload comes back to the newest */ }
    }

    function forget(which) {
        kept.remove(name(which));
        kept.set("chats", all().filter((c) => c.id !== which));
    }

    /* false: there is no room. Others go for it only where that is of any use. */
    function keep(messages) {
        if (!messages.length || kept.holds(name(id), messages))
            return true;
        const others = all().filter((c) => c.id !== id), first = entryOf(id, messages);
        const mayHelp = () => others.length && others.reduce((sum, c) => sum + kept.size(name(c.id)), kept.size(name(id))) >= JSON.stringify(messages).length;
        const put = () => kept.set(name(id), messages) && kept.set("chats", [first, ...others]);
        let done = put();
        for (const helps = !done && mayHelp(); helps && !done && others.length; done = put())
            forget(others.pop().id);
        return done;
    }

    /* ---- the list ---- */

    const dialog = $("chats");
    function when(at) {
        const then = new Date(at), today = then.toDateString() === new Date().toDateString();
        return then.toLocaleString("en", today ? {timeStyle: "short"} : {dateStyle: "medium"});
    }
    const facts = (c) => `${count(c.n)} messages \u00b7 ${when(c.at)}`;

    function remove(c) {
        const rows = [...$("chats-list").querySelectorAll(".use")], at = rows.findIndex((r) => r.dataset.id === c.id);
        const next = rows[at + 1] || rows[at - 1];
        if (c.id === id)
            chat.fresh();
        forget(c.id);
        show();
        ([...$("chats-list").querySelectorAll(".use")].find((r) => next && r.dataset.id === next.dataset.id) || $("chats-new")).focus();
        say(`${c.title} is deleted.`);
    }

    function show() {
        const now = all();
        if (!now.length)
            return $("chats-list").replaceChildren(el("li", {class: "none", text: "No chat has been kept yet."}));
        $("chats-list").replaceChildren(...now.map((c) => {
            const is = c.id === id;
            const use = el("button", {type: "button", class: "use", "data-id": c.id, "aria-current": is && "true", click: () => {
                dialog.close();
                if (!is)
                    chat.open(c.id);
                $("say").focus();
            }}, el("span", {class: "title", text: c.title}), el("span", {class: "facts", text: facts(c)}));
            return el("li", {class: is ? "is" : null}, use, sureButton("Delete", c.title, () => remove(c)));
        }));
    }

    $("chats-open").addEventListener("click", () => {
        chat.keep();
        show();
        dialog.showModal();
        const here = $("chats-list").querySelector("[aria-current]");
        (here || $("chats-list").querySelector(".use") || $("chats-new")).focus();
    });
    $("chats-close").addEventListener("click", () => dialog.close());
    $("chats-new").addEventListener("click", () => {
        dialog.close();
        chat.fresh();
    });
    addEventListener("storage", (e) => e.key === "kvrun.chats" && dialog.open && show()); /* in another tab */

    /* ---- the beginning ---- */

    /* Two tabs that keep something at the same time may lose a line of the list. */
    function adopt() {
        const known = all(), lost = kept.names("chat.").map((n) => n.slice("chat.".length)).filter((n) => !known.some((c) => c.id === n) && messagesOf(n).length);
        if (lost.length)
            kept.set("chats", [...known, ...lost.map((n) => entryOf(n, messagesOf(n)))]);
    }

    /* The one that this tab was in, or that was talked in last. Earlier versions kept a single one. */
    function first() {
        const single = list(kept.get("chat", []));
        adopt();
        id = newId();
        if (single.length && keep(single))
            kept.remove("chat");
        try {
            return sessionStorage.getItem("kvrun.chat") || (all()[0] || {id}).id;
        } catch {
            return id;
        }
    }
    be(first());

    return {
        keep,
        messages: () => messagesOf(id),
        open: be,
        begin: () => be(newId()),
    };
})();
