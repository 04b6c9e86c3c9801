/* The conversation: messages, what they look like, and asking for the next. It is kept in this browser (chats.js) while it grows.
 *
 * A message is {role, content, thought, error, stopped, note}; what a model says is shown by markdown.js, what a user says as it
 * is. Only one answer comes at a time: `now`. */

const chat = (() => {
    const KEEP_MS = 1000, NEAR_END = 120;
    let messages = chats.messages(), now = null, dirty = 0;
    const nodes = new Map(); /* message: its parts */

    function keep() {
        clearTimeout(dirty);
        dirty = 0;
        if (!chats.keep(messages))
            say("This browser has no room to keep the chat.");
    }
    const keepSoon = () => dirty = dirty || setTimeout(keep, KEEP_MS);
    addEventListener("pagehide", keep);

    /* ---- what it looks like ---- */

    const scroller = $("scroll");
    const atEnd = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
    const toEnd = () => scroller.scrollTop = scroller.scrollHeight;

    function userNode(m) {
        const text = el("div", {class: "said", text: m.content});
        const actions = el("div", {class: "actions"}, button("edit", "Edit this question", () => edit(m)), copyButton("Copy this question", () => m.content));
        return {node: el("article", {class: "user", "aria-label": "You"}, text, actions), text};
    }

    function assistantNode(m) {
        const parts = {thought: el("div", {class: "md"}), text: el("div", {class: "md"}), wrong: el("div", {class: "wrong", role: "alert", hidden: true}),
            note: el("span", {class: "note"}), wait: el("p", {class: "wait", hidden: true}), summary: el("summary", {text: "Thoughts"})};
        parts.thoughts = el("details", {class: "thoughts", hidden: true}, parts.summary, parts.thought);
        parts.actions = el("div", {class: "actions"}, copyButton("Copy this answer", () => m.content), button("again", "Answer again", () => again(m)), parts.note);
        parts.node = el("article", {class: "assistant", "aria-label": "The model"}, parts.thoughts, parts.wait, parts.text, parts.wrong, parts.actions);
        return parts;
    }

    function paint(m) {
        const p = nodes.get(m), lives = now && now.message === m;
        if (m.role === "user")
            return p.text.textContent = m.content;
        p.thoughts.hidden = !m.thought;
        if (m.thought)
            markdown(p.thought, m.thought);
        p.summary.textContent = lives && !m.content ? "Thinking\u2026" : "Thoughts";
        markdown(p.text, m.content);
        p.wait.hidden = !lives || Boolean(m.content || m.thought);
        p.wait.textContent = lives ? now.wait : "";
        p.wrong.hidden = !m.error;
        if (m.error)
            p.wrong.replaceChildren(el("span", {text: m.error}), el("button", {type: "button", class: "quiet", text: "Try again", click: () => again(m)}));
        p.actions.hidden = Boolean(lives) || (!m.content && Boolean(m.error));
        p.note.textContent = (m.stopped ? "stopped" : "") + (m.stopped && m.note ? " \u00b7 " : "") + (m.note || "");
        p.node.setAttribute("aria-busy", String(Boolean(lives)));
        p.node.classList.toggle("live", Boolean(lives));
    }

    function show(m) {
        const parts = m.role === "user" ? userNode(m) : assistantNode(m);
        nodes.set(m, parts);
        $("chat").append(parts.node);
        paint(m);
    }

    function showButtons() {
        const b = $("send"), label = now ? "Stop" : "Send";
        b.replaceChildren(icon(now ? "stop" : "send"));
        b.setAttribute("aria-label", label);
        b.title = now ? "Stop (Esc)" : label;
        b.disabled = !now && !$("say").value.trim();
        b.classList.toggle("stops", Boolean(now));
        $("empty").hidden = messages.length > 0;
        document.body.classList.toggle("begun", messages.length > 0);
    }

    /* From m on all is forgotten. */
    function cutAt(m) {
        for (const gone of messages.splice(messages.indexOf(m))) {
            nodes.get(gone).node.remove();
            nodes.delete(gone);
        }
    }

    /* ---- asking ---- */

    function request() {
        const system = settings.system(), d = documents.chosen(), model = settings.model();
        const all = messages.filter((m) => m !== now.message && m.content).map((m) => ({role: m.role, content: m.content}));
        return {...settings.request(), ...(model && {model}), ...(d && {kv_context: d.name}), stream: true, return_progress: true,
            messages: system ? [{role: "system", content: system}, ...all] : all};
    }

    function noteOf(t) {
        const speed = t.predicted_per_second ? `${t.predicted_per_second.toFixed(t.predicted_per_second < 10 ? 1 : 0)} tokens/s` : "";
        return [`${count(t.predicted_n)} tokens`, speed, t.cache_n ? `${count(t.cache_n)} of ${count(t.cache_n + t.prompt_n)} read before` : ""].filter(Boolean).join(" \u00b7 ");
    }

    function take(m, event) {
        const choice = event.choices && event.choices[0], delta = choice && choice.delta || {};
        if (event.prompt_progress) {
            const p = event.prompt_progress;
            now.wait = p.total > 0 && p.processed < p.total ? `Reading, ${Math.round(100 * p.processed / p.total)} %` : "Thinking of an answer";
        }
        m.content += delta.content || "";
        m.thought += delta.reasoning_content || "";
        if (event.timings)
            m.note = noteOf(event.timings);
        if (choice && choice.finish_reason === "length")
            m.note = [m.note, "cut at the longest answer"].filter(Boolean).join(" \u00b7 ");
        now.draw();
    }

    function drawer(m) {
        let waits = false;
        return () => {
            if (waits)
                return;
            waits = true;
            const turn = () => {
                waits = false;
                if (!nodes.has(m))
                    return;
                const follow = atEnd();
                paint(m);
                if (follow)
                    toEnd();
                keepSoon();
            };
            document.hidden ? setTimeout(turn, 200) : requestAnimationFrame(turn);
        };
    }

    async function answer() {
        const m = {role: "assistant", content: "", thought: ""};
        messages.push(m);
        const mine = now = {message: m, abort: new AbortController(), wait: "Waiting for a place", draw: drawer(m)};
        show(m);
        showButtons();
        toEnd();
        meter.busy(true);
        say("The model is answering.");
        try {
            await api.stream(request(), mine.abort.signal, (event) => now === mine && take(m, event));
        } catch (e) {
            if (e.name === "AbortError")
                m.stopped = true;
            else
                m.error = e.message || "Something went wrong in this page.";
        }
        if (now !== mine)
            return;
        now = null;
        if (nodes.has(m)) {
            const follow = atEnd();
            paint(m);
            if (follow)
                toEnd();
        }
        keep();
        showButtons();
        meter.busy(false);
        say(m.error || (m.stopped ? "Stopped." : "The answer is there."));
    }

    function stop() {
        if (now)
            now.abort.abort();
    }

    function drop() { /* what is being answered, at once */
        if (!now)
            return;
        now.abort.abort();
        now = null;
        meter.busy(false);
    }

    /* What was said so far stays in the chat that is left. */
    function leave() {
        if (now)
            now.message.stopped = true;
        drop();
        keep();
    }

    function enter() {
        messages = chats.messages();
        nodes.clear();
        $("chat").replaceChildren();
        messages.forEach(show);
        showButtons();
        toEnd();
    }

    function ask(text) {
        const m = {role: "user", content: text};
        messages.push(m);
        show(m);
        answer();
    }

    function again(m) {
        drop();
        cutAt(m);
        answer();
    }

    /* ---- editing ---- */

    function edit(m) {
        const p = nodes.get(m);
        if (p.editor)
            return p.editor.querySelector("textarea").focus();
        const area = el("textarea", {"aria-label": "Edit the question", rows: "1"});
        const end = () => {
            p.editor.replaceWith(p.text);
            p.editor = null;
            p.node.classList.remove("edits");
            $("say").focus();
        };
        const send = () => {
            const text = area.value.trim();
            if (!text)
                return;
            end();
            drop();
            cutAt(m);
            ask(text);
        };
        area.value = m.content;
        area.addEventListener("input", () => grow(area));
        area.addEventListener("keydown", (e) => {
            if (e.key === "Escape") {
                e.stopPropagation();
                end();
            } else if (e.key === "Enter" && !e.shiftKey && !e.isComposing) {
                e.preventDefault();
                send();
            }
        });
        p.editor = el("div", {class: "editor"}, area, el("div", {class: "ends"}, el("button", {type: "button", class: "quiet", text: "Cancel", click: end}),
            el("button", {type: "button", class: "main", text: "Ask again", click: send})));
        p.text.replaceWith(p.editor);
        p.node.classList.add("edits");
        grow(area);
        area.focus();
    }

    function grow(area) {
        area.style.height = "auto";
        area.style.height = Math.min(area.scrollHeight, innerHeight * 0.4) + "px";
    }

    return {
        ask, stop, grow, showButtons, keep,
        running: () => Boolean(now),
        editLast() {
            const last = messages.findLast((m) => m.role === "user");
            if (last)
                edit(last);
        },
        fresh() {
            leave();
            chats.begin();
            enter();
            $("say").focus();
            say("A new chat.");
        },
        open(id) {
            leave();
            chats.open(id);
            enter();
            say("Another chat.");
        },
        start: enter,
    };
})();
