// What gradio cannot do: a summary of the settings in the accordion's header, and more below.

(function() {
    const part = (tab, name) => gradioApp().querySelector(`#script_${tab}_aesthetic_gradients_${name}`);
    const value = (tab, name) => part(tab, name)?.querySelector("input")?.value ?? "";

    function summary(tab) {
        if (!part(tab, "accordion-checkbox")?.querySelector("input")?.checked) return "";
        let [chosen, negative] = ["embedding", "negative"].map(name => value(tab, name)).map(x => x === "None" ? "" : x);
        const dropped = part(tab, "pictures")?.querySelectorAll("tr").length;
        if (dropped) chosen = dropped === 1 ? "1 picture" : `${dropped} pictures`;
        if (!chosen && !negative) return ": no embedding is chosen";
        const names = [chosen, negative && `negative ${negative}`].filter(Boolean);
        return `: ${names.join(", ")}, ${value(tab, "steps")} steps, epsilon ${value(tab, "epsilon")}`;
    }

    // after the header's own text, which gradio may rewrite
    function show(header, text) {
        if (!header) return;
        let span = header.querySelector(":scope > .aesthetic-summary");
        if (!span) {
            span = header.appendChild(document.createElement("span"));
            span.className = "aesthetic-summary";
        }
        if (span.textContent !== text) span.textContent = text;
    }

    function update() {
        for (const tab of ["txt2img", "img2img"]) {
            show(part(tab, "accordion")?.querySelector(".label-wrap > span"), summary(tab));
        }
    }

    // gradio 3 reads what is typed into a dropdown when a key is released: it misses what is dropped, or pasted by mouse
    document.addEventListener("input", event => {
        if (event.target.closest?.("[id*=_aesthetic_gradients_]")) {
            event.target.dispatchEvent(new KeyboardEvent("keyup", {bubbles: true}));
        }
    });

    // gradio changes what is typed to the slider's nearest end when the box is left, but some update rules need more
    document.addEventListener("blur", event => {
        if (event.target.closest?.("[id$=_aesthetic_gradients_epsilon]")) event.stopPropagation();
    }, true);

    // the tab has chosen what it made in txt2img (webui/tab.py)
    document.addEventListener("click", event => {
        if (event.target.closest?.("#aesthetic_gradients_use")) window.switch_to_txt2img?.();
    });

    onUiLoaded(() => setInterval(update, 250)); // presets and pasted infotext set values without any event
})();
