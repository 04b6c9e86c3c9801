/* How the model answers, how the page looks, which model it is: kept in this browser. */

const settings = (() => {
    const form = $("settings").querySelector("form"), numbers = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"];
    let values = kept.get("settings", {});

    function fill() {
        for (const input of form.elements)
            if (input.name)
                input.value = values[input.name] ?? "";
    }

    function take() {
        values = {};
        for (const input of form.elements)
            if (input.name && input.value.trim() && input.validity.valid)
                values[input.name] = input.value;
        kept.set("settings", values);
    }

    form.addEventListener("input", take);
    $("settings-open").addEventListener("click", () => {
        fill();
        $("settings").showModal();
    });
    $("settings-reset").addEventListener("click", () => {
        values = {};
        kept.set("settings", values);
        fill();
        say("Settings are as they were at first.");
    });

    /* Looks: as the system has it, light, dark. */
    const looks = ["auto", "light", "dark"], icons = {auto: "auto", light: "sun", dark: "moon"}, names = {auto: "as the system", light: "light", dark: "dark"};
    function look(theme) {
        const b = $("theme"), label = `Colours: ${names[theme]}`;
        document.documentElement.dataset.theme = theme;
        b.replaceChildren(icon(icons[theme]));
        b.setAttribute("aria-label", label);
        b.title = label;
        kept.set("theme", theme);
    }
    $("theme").addEventListener("click", () => look(looks[(looks.indexOf(document.documentElement.dataset.theme) + 1) % looks.length]));
    look(looks.includes(kept.get("theme")) ? kept.get("theme") : "auto");

    /* Models: there is one, or there are several to choose from. */
    async function findModels() {
        const select = $("model"), waits = el("option", {text: "Loading the model\u2026"});
        for (;;) {
            try {
                const models = (await api.json("GET", "/v1/models")).data.map((m) => m.id), last = kept.get("model");
                select.replaceChildren(...models.map((id) => el("option", {value: id, text: id})));
                select.disabled = models.length < 2;
                if (models.includes(last))
                    select.value = last;
                return;
            } catch (e) {
                waits.textContent = e.status === 503 ? "Loading the model\u2026" : e.message;
                select.replaceChildren(waits);
            }
            await new Promise((resolve) => setTimeout(resolve, 1500));
        }
    }
    $("model").addEventListener("change", () => kept.set("model", $("model").value));

    return {
        findModels,
        model: () => $("model").value && $("model").options[0].value ? $("model").value : "",
        system: () => values.system || "",
        /* What of a request they make. */
        request() {
            const r = {};
            for (const name of numbers)
                if (values[name] !== undefined)
                    r[name] = Number(values[name]);
            if (values.thinking)
                r.chat_template_kwargs = {enable_thinking: values.thinking === "yes"};
            return r;
        },
    };
})();
