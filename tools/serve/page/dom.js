/* Small help with elements, texts and numbers. Nothing here, or anywhere, turns a string into HTML. */

const $ = (id) => document.getElementById(id);

/* An element. props: attributes, but `class`, `text`, and functions as listeners ("click"). What is null or false is left out. */
function el(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props || {})) {
        if (value === null || value === undefined || value === false)
            continue;
        if (name === "text")
            node.textContent = value;
        else if (typeof value === "function")
            node.addEventListener(name, value);
        else
            node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
}

function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", "#i-" + name);
    svg.setAttribute("aria-hidden", "true");
    svg.append(use);
    return svg;
}

function button(name, label, act) {
    return el("button", {type: "button", class: "icon small", "aria-label": label, title: label, click: act}, icon(name));
}

/* A button for what cannot be taken back: pressed, it asks whether it was meant, for a while. */
function sureButton(label, what, act) {
    const ask = (asks) => {
        b.textContent = asks ? "Really?" : label;
        b.setAttribute("aria-label", asks ? `Really ${label.toLowerCase()} ${what}?` : `${label} ${what}`);
    };
    const b = el("button", {type: "button", class: "quiet", click: () => {
        if (b.textContent !== label)
            return act();
        ask(true);
        setTimeout(ask, 3000, false);
    }});
    ask(false);
    return b;
}

function say(text) {
    $("status").textContent = text;
}

const count = (n) => Math.round(n).toLocaleString("en");

function bytes(n) {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let i = 0;
    while (n >= 1024 && i < units.length - 1) {
        n /= 1024;
        i++;
    }
    return (i && n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[i];
}

/* Browsers give the clipboard to pages of this machine and of HTTPS; elsewhere the old way still works. */
async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        const area = el("textarea", {class: "sr", readonly: true, "aria-hidden": "true"});
        area.value = text;
        document.body.append(area);
        area.select();
        const done = document.execCommand("copy");
        area.remove();
        return done;
    }
}

function copyButton(label, text) {
    const b = button("copy", label, async () => {
        if (!await copy(text()))
            return say("The browser did not let the text be copied.");
        say("Copied.");
        b.replaceChildren(icon("done"));
        setTimeout(() => b.replaceChildren(icon("copy")), 1500);
    });
    return b;
}

/* What is kept in this browser. Where it keeps nothing (private windows, full), the page goes on without. */
const kept = {
    get(name, otherwise) {
        try {
            return JSON.parse(localStorage.getItem("kvrun." + name)) ?? otherwise;
        } catch {
            return otherwise;
        }
    },
    set(name, value) {
        try {
            localStorage.setItem("kvrun." + name, JSON.stringify(value));
            return true;
        } catch {
            return false;
        }
    },
    remove(name) {
        try {
            localStorage.removeItem("kvrun." + name);
        } catch { /* there is nothing, then */ }
    },
    text(name) {
        try {
            return localStorage.getItem("kvrun." + name) ?? "";
        } catch {
            return "";
        }
    },
    holds: (name, value) => kept.text(name) === JSON.stringify(value),
    size: (name) => kept.text(name).length,
    names(prefix) {
        try {
            return Object.keys(localStorage).filter((n) => n.startsWith("kvrun." + prefix)).map((n) => n.slice("kvrun.".length));
        } catch {
            return [];
        }
    },
};
