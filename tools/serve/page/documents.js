/* Documents: contexts by name, that a server reads once (/v1/contexts). One of them may be what is asked about. */

const documents = (() => {
    const KINDS = {html: "html", htm: "html", docx: "docx", epub: "epub", pdf: "pdf"};
    let all = [], shown = "", chosen = kept.get("document", null), reading = null, model = () => "";

    const smaller = (d) => d.bytes_f16 > d.bytes ? `${(d.bytes_f16 / d.bytes).toFixed(1)}\u00d7 smaller` : "";
    const facts = (d) => [`${count(d.tokens)} tokens`, bytes(d.bytes), smaller(d)].filter(Boolean).join(" \u00b7 ");

    function showChosen() {
        const chip = $("doc");
        chip.hidden = !chosen;
        if (chosen)
            chip.replaceChildren(icon("page"), el("span", {class: "title", text: chosen.title || chosen.name}), el("span", {class: "facts", text: facts(chosen)}),
                button("close", "Do not ask about this document any more", () => choose(null)));
    }

    function choose(d) {
        chosen = d;
        kept.set("document", d);
        showChosen();
        showList();
        say(d ? `Questions are about ${d.title || d.name} now.` : "Questions are about no document now.");
    }

    async function remove(d) {
        try {
            await api.request("DELETE", "/v1/contexts/" + encodeURIComponent(d.name));
            if (chosen && chosen.name === d.name)
                choose(null);
        } catch (e) {
            wrong(e.message);
        }
        list();
    }

    /* What is the same stays as it is: the focus, and a button that asks whether it was meant. */
    function showList() {
        const now = JSON.stringify([all, chosen && chosen.name]);
        if (now === shown)
            return;
        shown = now;
        $("docs-none").hidden = !chosen;
        if (!all.length)
            return $("docs-list").replaceChildren(el("li", {class: "none", text: "No document has been read yet."}));
        $("docs-list").replaceChildren(...all.map((d) => {
            const is = chosen && chosen.name === d.name;
            const use = el("button", {type: "button", class: "use", "aria-pressed": String(Boolean(is)), click: () => {
                choose(d);
                $("docs").close();
                $("say").focus();
            }}, el("span", {class: "title", text: d.title || d.name}), el("span", {class: "facts", text: facts(d)}));
            return el("li", {class: is ? "is" : null}, use, sureButton("Remove", d.title || d.name, () => remove(d)));
        }));
    }

    async function list() {
        try {
            all = (await api.json("GET", "/v1/contexts")).data.sort((a, b) => b.created - a.created);
        } catch (e) {
            wrong(e.message);
        }
        if (chosen) {
            chosen = all.find((d) => d.name === chosen.name) || null;
            kept.set("document", chosen);
            showChosen();
        }
        showList();
    }

    function wrong(message) {
        $("docs-error").textContent = message || "";
        $("docs-error").hidden = !message;
    }

    /* Of letters that a server takes, and not one that is there already. */
    function nameOf(file) {
        const stem = file.name.replace(/\.[^.]*$/, "").normalize("NFKD").replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 50) || "document";
        let name = stem;
        for (let i = 2; all.some((d) => d.name === name); i++)
            name = `${stem}-${i}`;
        return name;
    }

    function showReading(title) {
        const bar = $("reading-bar");
        $("reading").hidden = !title;
        $("docs-add").disabled = Boolean(title);
        if (!title)
            return () => 0;
        bar.removeAttribute("value");
        $("reading-text").textContent = `Reading ${title}`;
        return meter.watch((m) => {
            if (m.context_progress < 0)
                return;
            bar.value = m.context_progress;
            $("reading-text").textContent = `Reading ${title}: ${Math.round(100 * m.context_progress)} %`;
        });
    }

    async function read(file) {
        if (!$("docs").open)
            $("docs").showModal();
        if (reading)
            return wrong("One document is read at a time.");
        wrong("");
        await list();
        reading = new AbortController();
        const done = showReading(file.name), kind = KINDS[file.name.split(".").pop().toLowerCase()];
        const query = new URLSearchParams({title: file.name, ...(kind && {as: kind}), ...(model() && {model: model()})});
        try {
            const d = await api.json("PUT", `/v1/contexts/${nameOf(file)}?${query}`, {body: file, signal: reading.signal});
            await list();
            choose(d);
            $("docs").close();
            $("say").focus();
        } catch (e) {
            wrong(e.name === "AbortError" ? "It was not read to its end." : e.message);
        }
        done();
        showReading(null);
        reading = null;
    }

    function open() {
        wrong("");
        $("docs").showModal();
        list();
    }

    $("docs-open").addEventListener("click", open);
    $("docs-close").addEventListener("click", () => $("docs").close());
    $("docs-none").addEventListener("click", () => {
        choose(null);
        $("docs").close();
    });
    $("docs-add").addEventListener("click", () => $("docs-file").click());
    $("docs-file").addEventListener("change", () => {
        if ($("docs-file").files.length)
            read($("docs-file").files[0]);
        $("docs-file").value = "";
    });
    $("reading-stop").addEventListener("click", () => reading && reading.abort());

    /* A file that is dropped anywhere. */
    let inside = 0;
    const holdsFiles = (e) => e.dataTransfer && [...e.dataTransfer.types].includes("Files");
    addEventListener("dragenter", (e) => {
        if (holdsFiles(e))
            $("drop").hidden = !++inside;
    });
    addEventListener("dragleave", (e) => {
        if (holdsFiles(e))
            $("drop").hidden = !(inside = Math.max(0, inside - 1));
    });
    addEventListener("dragover", (e) => holdsFiles(e) && e.preventDefault());
    addEventListener("drop", (e) => {
        if (!holdsFiles(e))
            return;
        e.preventDefault();
        inside = 0;
        $("drop").hidden = true;
        if (e.dataTransfer.files.length)
            read(e.dataTransfer.files[0]);
    });

    return {
        chosen: () => chosen,
        start(modelOf) {
            model = modelOf;
            showChosen();
            if (chosen)
                list();
        },
    };
})();
