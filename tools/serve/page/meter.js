/* What the cache takes, as /metrics says it: in the bar at the top always, and in full when it is asked for. */

const meter = (() => {
    const BUSY_MS = 700, QUIET_MS = 4000;
    let timer = 0, busy = false, last = null;
    const listeners = new Set();

    function numbers(text) {
        const all = {};
        for (const line of text.split("\n")) {
            const m = /^kvrun_([a-z0-9_]+) (\S+)$/.exec(line);
            if (m)
                all[m[1]] = Number(m[2]);
        }
        return all;
    }

    const part = (a, b) => b > 0 ? Math.max(0, Math.min(1, a / b)) : 0;
    const width = (id, share) => $(id).style.width = (100 * share).toFixed(2) + "%";

    function times(m) {
        const ratio = m.cache_bytes > 0 ? m.cache_f16_bytes / m.cache_bytes : 0;
        return ratio >= 1.05 ? ratio.toFixed(1) + "\u00d7" : "";
    }

    function show(m) {
        const share = part(m.cache_bytes, m.cache_f16_bytes), ratio = times(m);
        width("meter-fill", share);
        $("meter-text").textContent = m.cache_bytes ? bytes(m.cache_bytes) : "Empty";
        $("meter-more").textContent = m.cache_bytes && ratio ? `${ratio} smaller` : "";
        $("meter").setAttribute("aria-label", m.cache_bytes ? `Cache: ${bytes(m.cache_bytes)}, in f16 it would take ${bytes(m.cache_f16_bytes)}` : "Cache: empty");

        $("cache-ratio").textContent = ratio || (m.cache_bytes ? "1\u00d7" : "0 B");
        $("cache-ratio-of").textContent = ratio ? "smaller than in f16" : m.cache_bytes ? "the size of f16: short, or without a profile" : "is held so far";
        const most = Math.max(m.cache_bytes, m.cache_f16_bytes);
        width("cache-now", part(m.cache_bytes, most));
        width("cache-f16", part(m.cache_f16_bytes, most));
        $("cache-now-text").textContent = bytes(m.cache_bytes);
        $("cache-f16-text").textContent = bytes(m.cache_f16_bytes);

        const states = {exact: m.tokens_exact, encoded: m.tokens_encoded, gone: Math.max(0, m.tokens_held - m.tokens_exact - m.tokens_encoded)};
        for (const [name, n] of Object.entries(states)) {
            $("states").querySelector("." + name).style.width = (100 * part(n, m.tokens_held)).toFixed(2) + "%";
            $("n-" + name).textContent = count(n);
        }
        $("states").setAttribute("aria-label", `${count(states.exact)} tokens exact, ${count(states.encoded)} compressed, ${count(states.gone)} let go`);
        const cached = part(m.prompt_tokens_cached_total, m.prompt_tokens_total);
        $("cache-note").textContent = `${count(m.requests_processing)} of ${count(m.slots)} answers at work` +
            (m.requests_deferred ? `, ${count(m.requests_deferred)} waiting` : "") +
            (m.cache_shared_bytes ? `; ${bytes(m.cache_shared_bytes)} used by several` : "") +
            (m.prompt_tokens_total ? `. Of ${count(m.prompt_tokens_total)} tokens of prompts, ${Math.round(100 * cached)} % did not have to be read again.` : ".");
    }

    async function look() {
        clearTimeout(timer);
        if (!document.hidden) {
            try {
                last = numbers(await (await api.request("GET", "/metrics", {quiet: true})).text());
                show(last);
                listeners.forEach((told) => told(last));
            } catch { /* it is only a meter: whoever asks for something will be told */ }
        }
        clearTimeout(timer);
        timer = setTimeout(look, busy || listeners.size || $("cache").open ? BUSY_MS : QUIET_MS);
    }

    $("meter").addEventListener("click", () => {
        $("cache").showModal();
        look();
    });
    document.addEventListener("visibilitychange", () => document.hidden || look());
    $("cache-close").addEventListener("click", () => $("cache").close());

    return {
        look,
        busy(now) {
            busy = now;
            look();
        },
        watch(told) { /* returns how to end it */
            listeners.add(told);
            look();
            return () => listeners.delete(told);
        },
    };
})();
