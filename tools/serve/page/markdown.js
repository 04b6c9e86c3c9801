/* Markdown as models write it, into elements: headings, lists, tables, quotes, code, emphasis, links. HTML in it is text, as
 * all that is not known here. Time is about linear in the text whatever it is: no pattern goes back over more than a line, a
 * mark whose end was looked for in vain is not looked for again, and depth is bounded. */

const markdown = (() => {
    const DEEPEST = 8, LONGEST_LABEL = 2000;

    /* ---- blocks ---- */

    const indent = (line) => line.length - line.trimStart().length;

    function fenceOf(line) {
        const m = /^ {0,3}(`{3,}|~{3,})(.*)$/.exec(line);
        return m && !(m[1][0] === "`" && m[2].includes("`")) ? {mark: m[1], info: m[2].trim()} : null;
    }

    function endsFence(line, fence) {
        const text = line.trim();
        return text.length >= fence.mark.length && text === fence.mark[0].repeat(text.length);
    }

    const headingOf = (line) => /^ {0,3}(#{1,6})[ \t]+(.*)$/.exec(line);
    const itemOf = (line) => /^( *)([-*+]|\d{1,9}[.)])(?: (.*)|)$/.exec(line);

    function isRule(line) {
        const text = line.replace(/[ \t]/g, "");
        return text.length >= 3 && "-*_".includes(text[0]) && text === text[0].repeat(text.length);
    }

    const isTableRule = (line) => line !== undefined && line.includes("-") && line.includes("|") && /^[ \t|:-]+$/.test(line);

    function startsBlock(line) {
        return fenceOf(line) || headingOf(line) || isRule(line) || line.startsWith(">") || itemOf(line);
    }

    /* Each takes lines from i on and returns [what is there, the line behind it], or null. */

    function takeFence(lines, i) {
        const fence = fenceOf(lines[i]);
        if (!fence)
            return null;
        let end = i + 1;
        while (end < lines.length && !endsFence(lines[end], fence))
            end++;
        return [{type: "code", language: fence.info.split(/[ \t{]/)[0], text: lines.slice(i + 1, end).join("\n")}, end + 1];
    }

    function takeHeading(lines, i) {
        const m = headingOf(lines[i]);
        let text = m && m[2].trimEnd();
        if (!m)
            return null;
        let end = text.length;
        while (text[end - 1] === "#")
            end--;
        if (end < text.length && (!end || text[end - 1] === " "))
            text = text.slice(0, end).trimEnd();
        return [{type: "heading", level: m[1].length, text}, i + 1];
    }

    const takeRule = (lines, i) => isRule(lines[i]) ? [{type: "rule"}, i + 1] : null;

    function takeQuote(lines, i) {
        let end = i;
        while (end < lines.length && lines[end].startsWith(">"))
            end++;
        return end > i ? [{type: "quote", lines: lines.slice(i, end).map((l) => l.replace(/^> ?/, ""))}, end] : null;
    }

    function takeList(lines, i) {
        const first = itemOf(lines[i]);
        if (!first)
            return null;
        const base = first[1].length, ordered = first[2].length > 1;
        const list = {type: "list", ordered, start: parseInt(first[2], 10), items: []};
        while (i < lines.length) {
            const m = itemOf(lines[i]);
            if (!m || m[1].length > base + 1 || m[1].length < base || (m[2].length > 1) !== ordered || isRule(lines[i]))
                break;
            const inner = m[1].length + m[2].length + 1, item = [m[3] || ""];
            for (i++; i < lines.length; i++) {
                if (!lines[i].trim()) {
                    if (i + 1 >= lines.length || (lines[i + 1].trim() && indent(lines[i + 1]) <= base && !itemOf(lines[i + 1])))
                        break;
                    item.push("");
                } else if (indent(lines[i]) > base && !(itemOf(lines[i]) && indent(lines[i]) < base + 2)) {
                    item.push(lines[i].slice(Math.min(inner, indent(lines[i]))));
                } else if (startsBlock(lines[i]) || !item[item.length - 1]) {
                    break;
                } else {
                    item.push(lines[i]);
                }
            }
            list.items.push(item);
        }
        return [list, i];
    }

    function cells(line) {
        const all = [""];
        let text = line.trim();
        if (text.startsWith("|"))
            text = text.slice(1);
        if (text.endsWith("|") && !text.endsWith("\\|"))
            text = text.slice(0, -1);
        for (let i = 0; i < text.length; i++) {
            if (text[i] === "\\" && text[i + 1] === "|")
                all[all.length - 1] += text[++i];
            else if (text[i] === "|")
                all.push("");
            else
                all[all.length - 1] += text[i];
        }
        return all.map((cell) => cell.trim());
    }

    function takeTable(lines, i) {
        if (!lines[i].includes("|") || !isTableRule(lines[i + 1]))
            return null;
        const sides = cells(lines[i + 1]).map((c) => c.endsWith(":") ? c.startsWith(":") ? "middle" : "right" : null);
        const table = {type: "table", sides, head: cells(lines[i]), rows: []};
        for (i += 2; i < lines.length && lines[i].includes("|"); i++)
            table.rows.push(cells(lines[i]));
        return [table, i];
    }

    function takeParagraph(lines, i) {
        let end = i + 1;
        while (end < lines.length && lines[end].trim() && !startsBlock(lines[end]) && !isTableRule(lines[end + 1]))
            end++;
        return [{type: "paragraph", text: lines.slice(i, end).join("\n")}, end];
    }

    const takers = [takeFence, takeHeading, takeRule, takeQuote, takeList, takeTable, takeParagraph];

    function parse(lines) {
        const blocks = [];
        for (let i = 0; i < lines.length;) {
            if (!lines[i].trim()) {
                i++;
                continue;
            }
            for (const take of takers) {
                const taken = take(lines, i);
                if (!taken)
                    continue;
                taken[0].source = lines.slice(i, taken[1]).join("\n");
                blocks.push(taken[0]);
                i = taken[1];
                break;
            }
        }
        return blocks;
    }

    /* ---- inside of lines ---- */

    const isWord = (c) => c !== undefined && /[\p{L}\p{N}]/u.test(c);
    const isSpace = (c) => c === undefined || /\s/.test(c);

    /* Where a mark such as ** that begins at `from` ends; -1: nowhere. */
    function endOf(s, mark, from) {
        for (let j = s.indexOf(mark, from + 1); j >= 0; j = s.indexOf(mark, j + 1)) {
            const more = mark.length === 1 && (s[j + 1] === mark || s[j - 1] === mark);
            if (!more && !isSpace(s[j - 1]) && s[j - 1] !== "\\" && !(mark[0] === "_" && isWord(s[j + mark.length])))
                return j;
        }
        return -1;
    }

    const marks = [["***", "strong", "em"], ["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];

    function safeLink(to, ...children) {
        let url;
        try {
            url = new URL(to);
        } catch {
            return null;
        }
        if (!["http:", "https:", "mailto:"].includes(url.protocol))
            return null;
        return el("a", {href: url.href, target: "_blank", rel: "noopener noreferrer"}, ...children);
    }

    function takeCode(s, i, none) {
        let n = 1;
        while (s[i + n] === "`")
            n++;
        const mark = "`".repeat(n);
        for (let j = none[mark] ? -1 : s.indexOf(mark, i + n); j >= 0; j = s.indexOf(mark, j + 1)) {
            let run = n;
            while (s[j + run] === "`")
                run++;
            if (run > n) {
                j += run - 1;
                continue;
            }
            let text = s.slice(i + n, j).replace(/\n/g, " ");
            if (text.trim() && text.startsWith(" ") && text.endsWith(" "))
                text = text.slice(1, -1);
            return [el("code", {text}), j + n];
        }
        none[mark] = true;
        return [document.createTextNode(mark), i + n];
    }

    /* [words](address), and ![words](address), of which only the words are shown: pictures would be asked for elsewhere. */
    function takeLink(s, i, depth) {
        const from = s[i] === "!" ? i + 2 : i + 1;
        let open = 1, j = from;
        for (; j < s.length && j < from + LONGEST_LABEL; j++) {
            if (s[j] === "\\")
                j++;
            else if (s[j] === "[")
                open++;
            else if (s[j] === "]" && !--open)
                break;
        }
        if (open || s[j + 1] !== "(")
            return null;
        const begin = j + 2;
        let end = begin;
        for (open = 1; end < s.length && end < begin + LONGEST_LABEL && s[end] !== "\n"; end++) {
            if (s[end] === "(")
                open++;
            else if (s[end] === ")" && !--open)
                break;
        }
        if (open)
            return null;
        const to = s.slice(begin, end).trim().split(/\s/)[0].replace(/^<|>$/g, "");
        const link = safeLink(to, ...inline(s.slice(from, j), depth + 1));
        return link && [link, end + 1];
    }

    function takeAddress(s, i) {
        const m = /^https?:\/\/[^\s<>"`]{1,2000}/.exec(s.slice(i, i + 2010));
        if (!m || isWord(s[i - 1]))
            return null;
        let to = m[0];
        while (/[.,;:!?'*_]$/.test(to) || (to.endsWith(")") && !to.includes("(")))
            to = to.slice(0, -1);
        const link = safeLink(to, to);
        return link && [link, i + to.length];
    }

    function takeMark(s, i, depth, none) {
        for (const [mark, tag, inner] of marks) {
            if (!s.startsWith(mark, i) || none[mark] || isSpace(s[i + mark.length]) || (mark[0] === "_" && isWord(s[i - 1])))
                continue;
            const end = endOf(s, mark, i + mark.length);
            if (end < 0) {
                none[mark] = true;
                continue;
            }
            const children = inline(s.slice(i + mark.length, end), depth + 1);
            return [el(tag, null, ...(inner ? [el(inner, null, ...children)] : children)), end + mark.length];
        }
        return null;
    }

    function takeInline(s, i, depth, none) {
        const c = s[i];
        if (c === "\\" && /[!-/:-@[-`{-~]/.test(s[i + 1] || ""))
            return [document.createTextNode(s[i + 1]), i + 2];
        if (c === "\n")
            return [el("br"), i + 1];
        if (c === "`")
            return takeCode(s, i, none);
        if (depth >= DEEPEST)
            return null;
        if (c === "[" || (c === "!" && s[i + 1] === "["))
            return takeLink(s, i, depth);
        if (c === "h")
            return takeAddress(s, i);
        return c === "*" || c === "_" || c === "~" ? takeMark(s, i, depth, none) : null;
    }

    function inline(s, depth = 0) {
        const nodes = [], none = {}, special = /[\\\n`[!h*_~]/g;
        let done = 0;
        for (let m; (m = special.exec(s));) {
            const taken = takeInline(s, m.index, depth, none);
            if (!taken)
                continue;
            if (m.index > done)
                nodes.push(document.createTextNode(s.slice(done, m.index)));
            nodes.push(taken[0]);
            special.lastIndex = done = taken[1];
        }
        if (done < s.length)
            nodes.push(document.createTextNode(s.slice(done)));
        return nodes;
    }

    /* ---- code ---- */

    const words = new Set(("abstract and as async await auto bool boolean break case catch char class const continue def default del do double elif else " +
        "enum except export extends extern false final finally float fn for from func function global go if impl import in include int " +
        "interface is lambda let long loop match mod mut namespace new nil none None not null or package pass private protected pub public raise " +
        "return select self short sizeof static struct super switch template then this throw trait true True False try type typedef typeof " +
        "undefined union unsigned use using var void where while with yield SELECT FROM WHERE INSERT UPDATE DELETE JOIN ORDER GROUP BY").split(" "));
    const hashes = /^(py|python|sh|bash|zsh|shell|ruby|rb|yaml|yml|toml|perl|r|make|makefile|cmake|dockerfile|conf|ini)$/i;
    const plain = /^(|text|txt|plain|plaintext|output|console|markdown|md)$/i;

    function coloured(text, language) {
        if (plain.test(language) || text.length > 50000)
            return [text];
        const comment = hashes.test(language) ? "#[^\\n]*" : "\\/\\/[^\\n]*|\\/\\*[^]*?(?:\\*\\/|$)|--\\s[^\\n]*";
        const parts = new RegExp(`(${comment})|("(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'?)|(\\b\\d[\\w.]*)|([A-Za-z_]\\w*)`, "g");
        const nodes = [];
        let done = 0;
        for (const m of text.matchAll(parts)) {
            const kind = m[1] ? "comment" : m[2] ? "string" : m[3] ? "number" : words.has(m[4]) ? "word" : null;
            if (!kind)
                continue;
            nodes.push(text.slice(done, m.index), el("span", {class: "c-" + kind, text: m[0]}));
            done = m.index + m[0].length;
        }
        return [...nodes, text.slice(done)];
    }

    function codeBlock(block) {
        const head = el("div", {class: "code-head"}, el("span", {text: block.language.slice(0, 40) || "text"}), copyButton("Copy code", () => block.text));
        return el("div", {class: "code"}, head, el("pre", {tabindex: "0"}, el("code", null, ...coloured(block.text, block.language))));
    }

    /* ---- elements ---- */

    function item(lines, depth) {
        const task = /^\[([ xX])\] /.exec(lines[0]);
        if (task)
            lines = [(task[1] === " " ? "\u2610 " : "\u2611 ") + lines[0].slice(4), ...lines.slice(1)];
        const blocks = parse(lines), li = el("li", null);
        for (const block of blocks)
            li.append(...(block.type === "paragraph" && blocks.filter((b) => b.type === "paragraph").length === 1 ? inline(block.text) : [build(block, depth + 1)]));
        return li;
    }

    function row(tag, all, sides) {
        return el("tr", null, ...all.slice(0, sides.length).map((cell, i) => el(tag, {class: sides[i]}, ...inline(cell))));
    }

    const builders = {
        code: codeBlock,
        heading: (b) => el("h" + Math.min(6, b.level + 2), null, ...inline(b.text)),
        rule: () => el("hr"),
        paragraph: (b) => el("p", null, ...inline(b.text)),
        quote: (b, depth) => el("blockquote", null, ...parse(b.lines).map((inner) => build(inner, depth + 1))),
        list: (b, depth) => el(b.ordered ? "ol" : "ul", {start: b.ordered && b.start !== 1 ? b.start : null}, ...b.items.map((lines) => item(lines, depth))),
        table: (b) => el("div", {class: "table", tabindex: "0"}, el("table", null, el("thead", null, row("th", b.head, b.sides)),
            el("tbody", null, ...b.rows.map((r) => row("td", r, b.sides))))),
    };

    function build(block, depth = 0) {
        return depth > DEEPEST ? el("p", {class: "raw", text: block.source}) : builders[block.type](block, depth);
    }

    /* Blocks that are there already stay, so that what is being said can be selected, and a long answer costs no more at its end. */
    return function show(parent, text) {
        const blocks = parse(text.split("\n")), had = parent.shown || [];
        let same = 0;
        while (same < blocks.length && same < had.length && blocks[same].type === had[same].type && blocks[same].source === had[same].source)
            same++;
        while (parent.childNodes.length > same)
            parent.lastChild.remove();
        parent.append(...blocks.slice(same).map((b) => build(b)));
        parent.shown = blocks;
    };
})();
