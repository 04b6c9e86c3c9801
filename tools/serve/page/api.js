/* What is asked of the server, and its errors in plain words. */

class Trouble extends Error {
    constructor(message, status, code) {
        super(message);
        this.status = status;
        this.code = code;
    }
}

const api = (() => {
    let key = sessionStorage.getItem("kvrun.key") || kept.get("key", "");
    let asking = null;

    $("key").addEventListener("cancel", (e) => e.preventDefault());

    /* One dialog for all requests that find that a key is missing. Resolves once there is another one. */
    function askForKey() {
        if (asking)
            return asking;
        const dialog = $("key");
        $("key-error").hidden = !key;
        $("key-text").value = "";
        for (const open of document.querySelectorAll("dialog[open]"))
            open.close();
        dialog.showModal();
        asking = new Promise((resolve) => {
            dialog.addEventListener("close", () => {
                key = $("key-text").value.trim();
                sessionStorage.setItem("kvrun.key", key);
                kept.set("key", $("key-keep").checked ? key : "");
                asking = null;
                resolve();
            }, {once: true});
        });
        return asking;
    }

    function inPlainWords(status, error) {
        const said = error && (error.message || error);
        if (error && error.code === "context_length_exceeded")
            return `This conversation is longer than the model can hold: ${count(error.n_prompt_tokens)} tokens, and there is room for ${count(error.n_ctx)}. ` +
                "Begin a new chat, or edit an earlier question.";
        if (status === 429)
            return `The server is busy: ${said || "all places are taken"}. Try again in a moment.`;
        if (status === 503)
            return `The server is not ready: ${said || "the model is being loaded"}.`;
        if (status === 413)
            return "That is larger than this server takes (its option --max-body).";
        return typeof said === "string" && said ? `The server refused it: ${said}` : `The server answered with an error (${status}).`;
    }

    async function troubleOf(response) {
        let error = null;
        try {
            error = (await response.json()).error;
        } catch { /* what it says is no JSON: its status must do */ }
        return new Trouble(inPlainWords(response.status, error), response.status, error && error.code);
    }

    /* fetch, with the key, and with errors as Trouble. quiet: no key is asked for. */
    async function request(method, path, {body, signal, quiet} = {}) {
        for (;;) {
            let response;
            const used = key;
            try {
                response = await fetch(path, {method, body, signal, cache: "no-store", headers: key ? {Authorization: "Bearer " + key} : {}});
            } catch (e) {
                if (e.name === "AbortError")
                    throw e;
                throw new Trouble("The server cannot be reached. Is kvrun serve still running?", 0);
            }
            if (response.ok)
                return response;
            if (response.status !== 401 || quiet)
                throw await troubleOf(response);
            if (used === key)
                await askForKey();
        }
    }

    const json = async (method, path, options) => (await request(method, path, options)).json();

    /* An answer, as it comes: on_event with each object of the stream. */
    async function stream(body, signal, onEvent) {
        const response = await request("POST", "/v1/chat/completions", {body: JSON.stringify(body), signal});
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
            let piece;
            try {
                piece = await reader.read();
            } catch (e) {
                if (e.name === "AbortError")
                    throw e;
                throw new Trouble("The connection broke before the answer was whole.", 0);
            }
            if (piece.done)
                throw new Trouble("The server ended the answer before it was whole.", 0);
            const lines = (rest + piece.value).split("\n");
            rest = lines.pop();
            for (const line of lines) {
                if (!line.startsWith("data: "))
                    continue;
                if (line.trimEnd() === "data: [DONE]")
                    return;
                const event = JSON.parse(line.slice(6));
                if (event.error)
                    throw new Trouble(inPlainWords(event.error.status || 500, event.error), 500, event.error.code);
                onEvent(event);
            }
        }
    }

    return {request, json, stream};
})();
